//! The addresses inside a cluster: of its pods, by node, and of its Services.

use std::{fmt, net::Ipv4Addr};

use kubenest_base::{Error, Result};
use serde::Serialize;

/// The port of the API server in a control plane's node.
pub(super) const API_PORT: u16 = 6443;

/// The most nodes of a cluster: the subnet of all pods has this many subnets for single nodes.
pub(super) const MOST_NODES: usize = 256;

/// How deep clusters may be nested in others, the outermost having depth 0.
const DEEPEST: u8 = 2;

/// The subnets of a cluster. A cluster in the nodes of another cluster has different subnets, or
/// its pods could not reach the outer cluster's Services and pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Addresses {
    /// The subnet of all pods.
    pods: Subnet,
    /// The subnet of all Services.
    services: Subnet,
}

/// A network in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub(super) struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

impl Addresses {
    /// The subnets of a cluster at this depth: 0 when its nodes are containers of this machine,
    /// else the number of clusters around it.
    ///
    /// # Errors
    /// It is too deep.
    pub(super) fn at_depth(depth: u8) -> Result<Self> {
        if depth > DEEPEST {
            return Err(Error::refused(format!(
                "layer {} of clusters is refused: only {} have address ranges of their own, and \
                 all of them take memory, disk and instances of inotify from one machine",
                depth + 1,
                DEEPEST + 1
            ))
            .cure("nest in a cluster that is less deep"));
        }
        let subnet = |second| Subnet {
            address: Ipv4Addr::new(10, second, 0, 0),
            prefix: 16,
        };
        Ok(Self {
            pods: subnet(244 + depth),
            services: subnet(96 + depth),
        })
    }

    /// The subnet of all pods.
    pub(super) fn pods(self) -> Subnet {
        self.pods
    }

    /// The subnet of all Services.
    pub(super) fn services(self) -> Subnet {
        self.services
    }

    /// The address of the API server's Service: the first of its subnet, by Kubernetes' rule.
    pub(super) fn api_service(self) -> Ipv4Addr {
        let [a, b, c, d] = self.services.address.octets();
        Ipv4Addr::new(a, b, c, d + 1)
    }

    /// The subnet of the pods on the node of this index.
    ///
    /// # Panics
    /// The index is not below [`MOST_NODES`], which the check of a spec excludes.
    pub(super) fn pods_of_node(self, index: usize) -> Subnet {
        let [a, b, ..] = self.pods.address.octets();
        let third = u8::try_from(index).expect("a cluster must have no more nodes than subnets");
        Subnet {
            address: Ipv4Addr::new(a, b, third, 0),
            prefix: 24,
        }
    }
}

/// The range of the networks of an engine that runs in a pod, for a cluster at this depth.
pub(super) fn engine_range(depth: u8) -> Subnet {
    Subnet {
        address: Ipv4Addr::new(10, 224 + depth, 0, 0),
        prefix: 16,
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_cluster_on_this_machine_has_the_usual_subnets() {
        let addresses = Addresses::at_depth(0).unwrap();
        assert_eq!(addresses.pods().to_string(), "10.244.0.0/16");
        assert_eq!(addresses.services().to_string(), "10.96.0.0/16");
        assert_eq!(addresses.api_service().to_string(), "10.96.0.1");
        assert_eq!(addresses.pods_of_node(3).to_string(), "10.244.3.0/24");
    }

    #[test]
    fn no_two_depths_share_a_subnet() {
        let mut subnets = BTreeSet::new();
        for depth in 0..=DEEPEST {
            let addresses = Addresses::at_depth(depth).unwrap();
            let subnets_here = [addresses.pods(), addresses.services(), engine_range(depth)];
            for subnet in subnets_here {
                assert!(subnets.insert(subnet.to_string()), "{subnet} at {depth}");
            }
        }
        let error = Addresses::at_depth(DEEPEST + 1).unwrap_err();
        assert_eq!(error.kind(), kubenest_base::ErrorKind::Refused);
        insta::assert_snapshot!(error.report(), @r"
        layer 4 of clusters is refused: only 3 have address ranges of their own, and all of them take memory, disk and instances of inotify from one machine
        cure: nest in a cluster that is less deep
        ");
    }
}
