//! The names of all checks, of versions before a boot and of the nodes' health.

use std::fmt;

use kubenest_base::{Error, Result};

/// The subject of a check. The table of version pairs and the health checks of nodes share these
/// names where they check the same subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// The node's CRI.
    Cri,
    /// containerd's snapshotter.
    Snapshotter,
    /// containerd's plugins, and configurations that keep them from loading.
    Plugins,
    /// Whether the running containerd is the one on disk.
    Daemon,
    /// The shim and the daemon.
    Shim,
    /// Overlay file systems.
    Overlay,
    /// The disk's room.
    Disk,
    /// The disk's inodes.
    Inodes,
    /// The kubelet's garbage collection of images.
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
    /// The planned and the running versions.
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

    /// The check's name in reports and in `tolerate`.
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
    /// No check has this name: a misspelt name would silently tolerate nothing.
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
