//! Whether a cluster can run in a pod: what the layer between two clusters is like, told by the pod
//! itself before its engine starts, and judged by pure functions.

use std::{collections::BTreeMap, net::Ipv4Addr};

use crate::health::{Outcome, Report};

type Judge = fn(&LayerFacts) -> Outcome;

const CHECKS: [(&str, Judge); 9] = [
    ("cgroup-namespace", cgroup_namespace),
    ("cgroup-delegation", cgroup_delegation),
    ("data-root", data_root),
    ("kmsg", kmsg),
    ("mount-propagation", mount_propagation),
    ("mtu", mtu),
    ("subnets", subnets),
    ("dns", dns),
    ("outer-cluster", outer_cluster),
];

/// The smallest MTU that IPv4 promises, and below which TLS handshakes hang.
const LEAST_MTU: u32 = 576;

/// File systems on which an engine's data cannot be, because no overlay can have its upper folder
/// there or because they are memory.
const UNFIT: [&str; 4] = ["overlayfs", "tmpfs", "ramfs", "unknown"];

/// What a pod says of itself, and the address ranges of the cluster that is to run in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerFacts {
    told: BTreeMap<String, String>,
    ranges: Vec<String>,
}

impl LayerFacts {
    /// Reads what the pod has written: lines of `name=value`.
    pub fn read(text: &str, ranges: impl IntoIterator<Item = String>) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self {
            told: pairs
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
            ranges: ranges.into_iter().collect(),
        }
    }

    /// Judges the layer of this name, such as `outer/pod`.
    pub fn judge(&self, layer: &str) -> Report {
        Report {
            findings: CHECKS
                .iter()
                .map(|(name, check)| check(self).on(layer, name))
                .collect(),
        }
    }

    fn get(&self, name: &str) -> &str {
        self.told.get(name).map_or("", String::as_str)
    }

    fn words(&self, name: &str) -> Vec<&str> {
        self.get(name).split_whitespace().collect()
    }
}

/// The outcome for a fact that the pod has not told.
fn untold(name: &str) -> Outcome {
    Outcome::unknown(
        format!("the pod does not tell {name}"),
        "see the pod's log in the outer cluster",
    )
}

/// In its node's cgroup namespace an engine would make its groups beside those of the outer kubelet,
/// which takes them for pods that nobody knows.
fn cgroup_namespace(facts: &LayerFacts) -> Outcome {
    let paths = facts.words("cgroup-path");
    if paths.is_empty() {
        return untold("its cgroup");
    }
    let outside = paths.iter().find(|path| !["/", "/init"].contains(path));
    Outcome::when(
        outside.is_none(),
        match outside {
            None => "one of the pod's own".to_owned(),
            Some(path) => format!("the engine sees its cgroup at '{path}' of the outer node"),
        },
        "let the pod's first program run `unshare --cgroup`, then mount /sys/fs/cgroup anew",
    )
}

fn cgroup_delegation(facts: &LayerFacts) -> Outcome {
    let version = facts.get("cgroup-version");
    let controllers = facts.words("controllers");
    if version.is_empty() {
        return untold("its version of cgroups");
    }
    if facts.get("cgroup-writable") != "yes" {
        let cure = "run the pod privileged, so that /sys/fs/cgroup is mounted writable";
        return Outcome::failed(format!("v{version}, and no group can be made"), cure);
    }
    let missing: Vec<_> = ["cpu", "cpuset", "memory", "pids"]
        .into_iter()
        .filter(|name| !controllers.contains(name))
        .collect();
    let left = facts.get("processes");
    if version == "2" && left != "0" {
        let seen = format!("v2, {left} processes in the root group, which so hands nothing down");
        return Outcome::failed(
            seen,
            "move all processes of the pod to a group of their own",
        );
    }
    Outcome::when(
        missing.is_empty(),
        match missing.is_empty() {
            true => format!("v{version}, {}", controllers.join(" ")),
            false => format!("v{version} without {}", missing.join(", ")),
        },
        "the outer node has to hand these controllers down: see its cgroup.subtree_control",
    )
}

fn data_root(facts: &LayerFacts) -> Outcome {
    let kind = facts.get("data-root");
    if kind.is_empty() {
        return untold("the file system of its engine's data");
    }
    Outcome::when(
        !UNFIT.contains(&kind),
        kind,
        "give the engine a volume on a disk (emptyDir without `medium: Memory`), not the pod's root",
    )
}

fn kmsg(facts: &LayerFacts) -> Outcome {
    match facts.get("kmsg") {
        "" => untold("its kernel log"),
        told => Outcome::when(
            told == "yes",
            match told {
                "yes" => "readable",
                _ => "/dev/kmsg cannot be read, which a kubelet does",
            },
            "run the pod privileged; a node without it has to link /dev/kmsg to /dev/console",
        ),
    }
}

fn mount_propagation(facts: &LayerFacts) -> Outcome {
    match facts.get("shared") {
        "" => untold("how its mounts propagate"),
        told => Outcome::when(
            told.contains("shared"),
            told,
            "let the pod's first program run `mount --make-rshared /`",
        ),
    }
}

fn mtu(facts: &LayerFacts) -> Outcome {
    match facts.get("mtu").parse::<u32>() {
        Err(_) => untold("the MTU of its network"),
        Ok(mtu) => Outcome::when(
            mtu >= LEAST_MTU,
            format!("{mtu}, and so in the engine's networks"),
            "give the outer cluster's pods a network with a larger MTU",
        ),
    }
}

/// An address that both clusters use leads to the inner one only.
fn subnets(facts: &LayerFacts) -> Outcome {
    let routes = facts.words("routes");
    if routes.is_empty() {
        return untold("its routes");
    }
    let outer = routes
        .iter()
        .chain(&facts.words("nameservers"))
        .copied()
        .collect::<Vec<_>>();
    let met = facts.ranges.iter().find_map(|range| {
        let other = outer.iter().find(|other| meet(range, other))?;
        Some(format!(
            "{range} of the nested cluster meets {other} around it"
        ))
    });
    Outcome::when(
        met.is_none(),
        met.unwrap_or_else(|| facts.ranges.join(", ")),
        "move the network around the outer cluster to other addresses",
    )
}

/// A server on loopback is another one at each layer, and CoreDNS would ask itself.
fn dns(facts: &LayerFacts) -> Outcome {
    let servers = facts.words("nameservers");
    let looped = servers.iter().any(|server| {
        server
            .parse()
            .is_ok_and(|server: Ipv4Addr| server.is_loopback())
    });
    Outcome::when(
        !servers.is_empty() && !looped,
        match servers.is_empty() {
            true => "no name server".to_owned(),
            false => servers.join(" "),
        },
        "give the outer nodes a name server that is not on loopback: pods take theirs",
    )
}

/// With these a program in the nested cluster acts on the outer one.
fn outer_cluster(facts: &LayerFacts) -> Outcome {
    let variables = facts.words("variables");
    let token = facts.get("token");
    if token.is_empty() {
        return untold("whether it has a token");
    }
    let set: Vec<_> = variables.iter().copied().take(2).collect();
    let mut seen = Vec::new();
    if token != "no" {
        seen.push("a token of the outer cluster".to_owned());
    }
    if !set.is_empty() {
        seen.push(format!(
            "the variables {} of the outer cluster",
            set.join(", ")
        ));
    }
    Outcome::when(
        seen.is_empty(),
        match seen.is_empty() {
            true => "no token, no variables".to_owned(),
            false => seen.join("; "),
        },
        "set automountServiceAccountToken: false, and unset the variables before the engine starts",
    )
}

/// Whether two networks, `address/prefix` or an address, share an address.
fn meet(one: &str, other: &str) -> bool {
    let read = |text: &str| -> Option<(u32, u32)> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        Some((
            address.parse::<Ipv4Addr>().ok()?.to_bits(),
            prefix.parse().ok()?,
        ))
    };
    let (Some((one, of_one)), Some((other, of_other))) = (read(one), read(other)) else {
        return false;
    };
    let prefix = of_one.min(of_other).min(32);
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    (one ^ other) & mask == 0
}

#[cfg(test)]
mod tests;
