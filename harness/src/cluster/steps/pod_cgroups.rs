//! Keeps the cgroups of pods where the machine has cgroups of version 1.
//!
//! There systemd removes the cgroup of a slice from each hierarchy of its own in which no unit needs
//! it, empty as it is, whenever it makes another slice in it. The kubelet does not name devices to
//! systemd, but makes its cgroups in that hierarchy, too. When it makes those of the first pods, the
//! cgroup that all of them are in can vanish between two of its steps (`mkdir …: no such file or
//! directory`), and it tries that pod again after ten to fifteen seconds.
//!
//! A unit in each of the two slices that needs every controller makes systemd keep them all. It runs
//! nothing, and where cgroups have version 2 it does not start.

use kubenest_docker::FileEntry;

const UNIT: &str = "/etc/systemd/system/kubenest-cgroups@.service";
const DROP_IN: &str = "/etc/systemd/system/kubelet.service.d/20-kubenest-cgroups.conf";

/// The files that a node needs before it starts.
pub(in crate::cluster) fn files() -> [FileEntry; 2] {
    [
        FileEntry::new(UNIT, include_str!("cgroups.service")),
        FileEntry::new(DROP_IN, include_str!("cgroups.conf")),
    ]
}
