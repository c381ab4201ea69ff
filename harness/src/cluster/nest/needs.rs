//! What a nested cluster needs beside what its layer is like: how deep it may be, and how much room.

use kubenest_base::{Error, Result, machine::Machine};

use crate::cluster::{ClusterSpec, NodeSpec, room::Room};

/// Bytes of memory that an engine in a pod needs.
const ENGINE: u64 = 200 << 20;
/// Bytes of disk that a node writes until its cluster is up, and what a test runs on it.
const NODE_DISK: u64 = 1 << 30;

/// What there has to be for a nested cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    nodes: usize,
    /// Bytes.
    pub(super) memory: u64,
    /// Bytes.
    pub(super) disk: u64,
}

impl Needs {
    pub(super) fn of(nodes: &[NodeSpec]) -> Self {
        Self {
            nodes: nodes.len(),
            memory: Room::needed(nodes).memory + ENGINE,
            disk: NODE_DISK * nodes.len() as u64,
        }
    }

    /// Refuses a cluster that does not fit on the machine, with the sum. Where it cannot be seen
    /// how much memory is free, nothing is refused.
    pub(super) fn require(self, machine: Machine, disk: u64) -> Result<()> {
        let mib = |bytes: u64| bytes >> 20;
        let Self { nodes, .. } = self;
        if machine.memory > 0 && machine.memory < self.memory {
            return Err(Error::refused(format!(
                "a nested cluster of {nodes} nodes does not fit: its nodes need {} MiB of memory \
                 and its engine {}, together {}; {} MiB are free",
                mib(self.memory - ENGINE),
                mib(ENGINE),
                mib(self.memory),
                mib(machine.memory)
            ))
            .cure("nest fewer nodes, or end other clusters: kubenest list, kubenest down"));
        }
        if disk < self.disk {
            return Err(Error::refused(format!(
                "a nested cluster of {nodes} nodes does not fit: its nodes write {} MiB each, \
                 together {}; {} MiB are free on the disk, which is the same at every layer",
                mib(NODE_DISK),
                mib(self.disk),
                mib(disk)
            ))
            .cure("free disk space where the engine keeps its data"));
        }
        Ok(())
    }
}

/// Refuses a spec that asks for what a nested cluster cannot have.
pub(super) fn check(spec: &ClusterSpec) -> Result<()> {
    spec.check()?;
    if spec.docker.is_some() {
        return Err(
            Error::input("a nested cluster runs on the engine of its pod, not on another")
                .cure("leave out with_engine"),
        );
    }
    if spec.nodes.iter().any(|node| !node.mounts.is_empty()) {
        return Err(Error::input(
            "the nodes of a nested cluster cannot mount folders of this machine: they are in a pod",
        )
        .cure("write files into the nodes: Node::write_files"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(workers: usize, memory: u64, disk: u64) -> Option<String> {
        let needs = Needs::of(&ClusterSpec::with_workers(workers).nodes);
        let machine = Machine { cores: 2, memory };
        let fits = needs.require(machine, disk);
        fits.err().map(|error| error.to_string())
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_sum() {
        assert_eq!(refusal(2, 4 << 30, 4 << 30), None);
        assert_eq!(refusal(2, 0, 4 << 30), None, "unknown is not too little");
        insta::assert_snapshot!(
            refusal(2, 2 << 30, 4 << 30).unwrap(),
            @"a nested cluster of 3 nodes does not fit: its nodes need 2300 MiB of memory and its engine 200, together 2500; 2048 MiB are free"
        );
        insta::assert_snapshot!(
            refusal(2, 4 << 30, 1 << 30).unwrap(),
            @"a nested cluster of 3 nodes does not fit: its nodes write 1024 MiB each, together 3072; 1024 MiB are free on the disk, which is the same at every layer"
        );
    }

    #[test]
    fn a_spec_for_this_machine_is_not_one_for_a_pod() {
        assert!(check(&ClusterSpec::single_node()).is_ok());
        let node = NodeSpec::control_plane().with_mount("/a", "/b");
        let error = check(&ClusterSpec::of([node])).unwrap_err();
        assert!(error.to_string().contains("they are in a pod"), "{error}");
    }
}
