//! The room of this machine for clusters.

use kubenest_base::machine::Machine;
use kubenest_node::node::Role;

use super::NodeSpec;

/// Bytes of memory that a control plane needs, with what a test runs on it.
const CONTROL_PLANE: u64 = 1300 << 20;
/// Bytes of memory that a worker needs, with what a test runs on it.
const WORKER: u64 = 500 << 20;

/// How many clusters of these nodes may be in use at a time, each by one test: at least one.
pub(super) fn exclusive_clusters(nodes: &[NodeSpec]) -> usize {
    exclusive_clusters_of(Machine::this(), memory_of(nodes))
}

fn exclusive_clusters_of(machine: Machine, needed: u64) -> usize {
    let by_memory = usize::try_from(machine.memory / needed.max(1)).unwrap_or(usize::MAX);
    machine.cores.min(by_memory).max(1)
}

/// Bytes of memory that a cluster of these nodes needs.
fn memory_of(nodes: &[NodeSpec]) -> u64 {
    let each = nodes.iter().map(|node| match node.role {
        Role::ControlPlane => CONTROL_PLANE,
        Role::Worker => WORKER,
    });
    each.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterSpec;

    #[test]
    fn cores_and_memory_decide_how_many_clusters_are_in_use() {
        let needed = memory_of(&ClusterSpec::with_workers(1).nodes);
        let most = |cores, gib: u64| {
            let memory = gib << 30;
            exclusive_clusters_of(Machine { cores, memory }, needed)
        };
        assert_eq!(most(2, 24), 2);
        assert_eq!(most(16, 9), 5);
        assert_eq!(most(1, 1), 1, "one there is always");
    }
}
