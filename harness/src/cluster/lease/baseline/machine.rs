//! The files, services and images of a node.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use kubenest_base::Result;
use kubenest_node::node::Node;

/// Prints the sha256 of each file that says how the node works. What kubeadm sets aside when a gate
/// puts settings back says nothing.
const FILES: [&str; 17] = [
    "find",
    "/etc",
    "/kind",
    "/opt/cni",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "-xdev",
    "-path",
    "/etc/kubernetes/tmp",
    "-prune",
    "-o",
    "-type",
    "f",
    "-exec",
    "sha256sum",
    "{}",
    "+",
];
/// How many MiB more than at the first hand-out may be in use on a disk: journals and etcd grow by
/// themselves.
const GROWTH: u64 = 256;
/// Prints how many MiB files take, and the folder, for each disk of a node. What grows and shrinks
/// with pods and images is left out: those are looked at themselves.
const USED: [&str; 11] = [
    "du",
    "--summarize",
    "--one-file-system",
    "--block-size=1M",
    "--exclude=/var/lib/kubelet/pods",
    "--exclude=/var/lib/containerd/io.containerd.*",
    "--exclude=/var/lib/containers/storage/*",
    "/var",
    "/",
    "/run",
    "/tmp",
];
/// Prints the units that work, one a line.
const UNITS: [&str; 7] = [
    "systemctl",
    "list-units",
    "--type=service,socket",
    "--state=running,listening",
    "--plain",
    "--no-legend",
    "--no-pager",
];

/// What a node is made of, apart from the objects of the API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeState {
    /// The sha256 of each file by its path.
    pub(super) files: BTreeMap<String, String>,
    /// How many MiB of each disk files take, by the folder where it is.
    pub(super) used: BTreeMap<String, u64>,
    /// The units that run.
    pub(super) units: BTreeSet<String>,
    /// The ids of its images, and their names.
    pub(super) images: BTreeMap<String, BTreeSet<String>>,
}

impl NodeState {
    /// The state of a node now.
    pub(super) async fn of(node: &Node) -> Result<Self> {
        let (disks, units, images) =
            tokio::try_join!(Self::of_disks(node), units(node), images(node))?;
        Ok(Self {
            units,
            images,
            ..disks
        })
    }

    /// What can be said of a node whose runtime does not answer.
    pub(super) async fn of_disks(node: &Node) -> Result<Self> {
        let images = node.runtime().images_folder();
        let used = [&USED[..7], &[images], &USED[7..]].concat();
        // Each fails for a path that this node does not have, and prints the others.
        let (files, used) = tokio::try_join!(node.exec(&FILES), node.exec(&used))?;
        Ok(Self {
            files: self::files(&String::from_utf8_lossy(&files.stdout)),
            used: self::used(&String::from_utf8_lossy(&used.stdout)),
            ..Self::default()
        })
    }
}

/// The units of a node that run.
pub(super) async fn units(node: &Node) -> Result<BTreeSet<String>> {
    let found = node.exec_ok(&UNITS).await?;
    let lines = String::from_utf8_lossy(&found.stdout).into_owned();
    let names = lines
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}

async fn images(node: &Node) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let images = node.cri().await?.images().await?.into_iter();
    Ok(images
        .map(|image| {
            (
                image.id,
                image.tags.into_iter().chain(image.digests).collect(),
            )
        })
        .collect())
}

/// What `sha256sum` prints: a hash, two characters, a path.
fn files(printed: &str) -> BTreeMap<String, String> {
    let parts = printed.lines().filter_map(|line| line.split_once("  "));
    parts
        .map(|(hash, path)| (path.to_owned(), hash.to_owned()))
        .collect()
}

/// What `du` prints: a number, a tab, a folder.
fn used(printed: &str) -> BTreeMap<String, u64> {
    let parts = printed.lines().filter_map(|line| line.split_once('\t'));
    parts
        .filter_map(|(number, folder)| Some((folder.to_owned(), number.parse().ok()?)))
        .collect()
}

/// What cannot be put back on a node: what was done to its disks, and images that are gone.
pub(super) fn lasting_changes(before: &NodeState, now: &NodeState) -> Vec<String> {
    let mut found = changed_disks(before, now);
    for (id, names) in &before.images {
        let left = now.images.get(id);
        if left.is_none_or(|left| !names.is_subset(left)) {
            let name = names.iter().next().unwrap_or(id);
            found.push(format!("image '{name}' was removed"));
        }
    }
    found
}

/// What was done to the disks of a node: files that are not as they were, and what fills them.
pub(super) fn changed_disks(before: &NodeState, now: &NodeState) -> Vec<String> {
    let mut found = Vec::new();
    for (path, hash) in &before.files {
        match now.files.get(path) {
            Some(other) if other == hash => {}
            Some(_) => found.push(format!("file '{path}' was changed")),
            None => found.push(format!("file '{path}' was removed")),
        }
    }
    let added = now
        .files
        .keys()
        .filter(|path| !before.files.contains_key(*path));
    found.extend(added.map(|path| format!("file '{path}' was added")));
    for (folder, used) in &now.used {
        let more = used.saturating_sub(before.used.get(folder).copied().unwrap_or_default());
        if more > GROWTH {
            found.push(format!("{more} MiB more are in use in '{folder}'"));
        }
    }
    found
}

/// The units that ran and do not run now.
pub(super) fn stopped_units<'a>(before: &'a NodeState, now: &BTreeSet<String>) -> Vec<&'a str> {
    let stopped = before.units.iter().filter(|unit| !now.contains(*unit));
    stopped.map(String::as_str).collect()
}

/// The ids of the images that were not there.
pub(super) fn added_images<'a>(before: &NodeState, now: &'a NodeState) -> Vec<&'a str> {
    let ids = now
        .images
        .keys()
        .filter(|id| !before.images.contains_key(*id));
    ids.map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_may_grow_by_itself_and_not_be_filled() {
        let of = |printed| NodeState {
            used: used(printed),
            ..NodeState::default()
        };
        let before = of("1\t/var/lib/containerd\n140\t/var\n310\t/\n");
        let grown = of("1\t/var/lib/containerd\n300\t/var\n310\t/\n");
        assert_eq!(changed_disks(&before, &grown), [""; 0]);
        let filled = of("801\t/var/lib/containerd\n300\t/var\n310\t/\n");
        let what = ["800 MiB more are in use in '/var/lib/containerd'"];
        assert_eq!(changed_disks(&before, &filled), what);
    }
}
