//! The names of what is looked at, before a boot and on the nodes.

use std::fmt;

use kubenest_base::{Error, Result};

/// What is looked at: by the table of pairs before a boot, by the health checks on the nodes, and
/// by both where they look at the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// The node's CRI.
    Cri,
    /// containerd's snapshotter.
    Snapshotter,
    /// containerd's plugins, and what they are known not to load with.
    Plugins,
    /// The containerd that runs is the one on disk.
    Daemon,
    /// The shim and the daemon.
    Shim,
    /// Overlay file systems.
    Overlay,
    /// The disk's room.
    Disk,
    /// The disk's inodes.
    Inodes,
    /// What the kubelet deletes.
    Kubelet,
    /// The control groups.
    Cgroup,
    /// The kernel's inotify limits.
    Inotify,
    /// The clock.
    Clock,
    /// Images as volumes.
    ImageVolume,
    /// Images loaded by kind.
    Loader,
    /// Where the engine keeps its images.
    ImageStore,
    /// Kubernetes and the runtime.
    Kubernetes,
    /// kind and kubeadm.
    Kubeadm,
    /// What was planned and what runs.
    Drift,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Cri,
        Self::Snapshotter,
        Self::Plugins,
        Self::Daemon,
        Self::Shim,
        Self::Overlay,
        Self::Disk,
        Self::Inodes,
        Self::Kubelet,
        Self::Cgroup,
        Self::Inotify,
        Self::Clock,
        Self::ImageVolume,
        Self::Loader,
        Self::ImageStore,
        Self::Kubernetes,
        Self::Kubeadm,
        Self::Drift,
    ];

    /// Its name, as it is written in reports and tolerated by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::Snapshotter => "snapshotter",
            Self::Plugins => "plugins",
            Self::Daemon => "daemon",
            Self::Shim => "shim",
            Self::Overlay => "overlay",
            Self::Disk => "disk",
            Self::Inodes => "inodes",
            Self::Kubelet => "kubelet",
            Self::Cgroup => "cgroup",
            Self::Inotify => "inotify",
            Self::Clock => "clock",
            Self::ImageVolume => "image-volume",
            Self::Loader => "loader",
            Self::ImageStore => "image-store",
            Self::Kubernetes => "kubernetes",
            Self::Kubeadm => "kubeadm",
            Self::Drift => "drift",
        }
    }

    /// The check of this name.
    ///
    /// # Errors
    /// There is none: a misspelt name would tolerate nothing and say nothing.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|check| check.name() == name);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            Error::input(format!("no health check is named '{name}'")).cure(format!("one of {all}"))
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
