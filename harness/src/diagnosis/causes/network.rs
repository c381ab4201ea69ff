//! Causes in the network of nodes and pods, DNS among them.

use super::super::{
    Source::{Pod, Unknown},
    rule::{Cause, Role::Proof, Sign},
};

pub(super) const CAUSES: &[Cause] = &[Cause {
    id: "coredns-loop",
    title: "CoreDNS forwards to itself",
    cause: "CoreDNS stops: a query it forwarded came back ({from} -> {to}), because the \
                node's resolv.conf names a loopback address such as Docker's 127.0.0.11",
    cure: "give the node a resolv.conf with an address that pods can reach, or set the \
               kubelet's resolvConf to such a file",
    links: &["https://coredns.io/plugins/loop/#troubleshooting"],
    follows: None,
    signs: &[Sign::new(
        Proof,
        &[Pod, Unknown],
        r#"^\[FATAL\] plugin/loop: Loop \((?<from>[^ ]+) -> (?<to>[^ )]+)\) detected for zone"#,
    )],
}];
