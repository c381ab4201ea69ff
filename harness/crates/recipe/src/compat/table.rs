//! The table behind the verdicts: `data/compat.yaml`, read once.

use std::sync::OnceLock;

use semver::Version;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// Oldest first.
    pub(super) containerd: Vec<Line>,
    pub(super) crio: Crio,
    pub(super) configs: Vec<Config>,
    pub(super) import: Import,
    pub(super) cri_client: CriClient,
    pub(super) image_store: Store,
    /// Oldest first.
    pub(super) kubernetes: Vec<Recommendation>,
    /// Oldest first.
    pub(super) kind: Vec<Kind>,
    pub(super) strays: Vec<NodeImage>,
    pub(super) cri: Cri,
    pub(super) kubeadm: Kubeadm,
    pub(super) cgroup_v1: CgroupV1,
    pub(super) removed_flags: RemovedFlags,
    pub(super) mirrors: Mirrors,
}

/// A release line of containerd.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// `major.minor`.
    pub(super) line: String,
    pub(super) config: u32,
    pub(super) shim: Form,
    pub(super) image_volume: bool,
    /// `ctr images import` goes through the transfer service.
    pub(super) transfer: bool,
    /// The last day of its patches.
    pub(super) until: String,
}

/// What is known of CRI-O.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Crio {
    /// The first release that mounts images as volumes.
    pub(super) image_volume: Version,
    /// What earlier releases answer.
    pub(super) says: String,
    pub(super) image_volume_link: String,
}

/// The form in which a shim reports its address; a daemon reads its own form and older ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    Address,
    Json,
    Protobuf,
}

/// A version of containerd's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub version: u32,
    /// The key of the snapshotter's name.
    pub(super) key: String,
    pub(super) link: String,
}

/// Where `ctr images import`, as `kind load` calls it, cannot unpack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    /// Releases that can never unpack.
    pub(super) broken: Vec<Version>,
    pub(super) fixed: Version,
    pub(super) link: String,
    /// The only snapshotter that the transfer service unpacks for.
    pub(super) unpacks: String,
    pub(super) hidden: HiddenSnapshotter,
    pub(super) transfer_link: String,
}

/// Releases whose `containerd config dump` does not name the snapshotter of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HiddenSnapshotter {
    pub(super) line: String,
    pub(super) fixed: Version,
}

impl HiddenSnapshotter {
    pub(super) fn covers(&self, containerd: &Version) -> bool {
        minor(containerd) == self.line && *containerd < self.fixed
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CriClient {
    /// The first cri-api whose mounts can name an image.
    pub(super) image_mount: Version,
    pub(super) link: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    /// The first Docker that keeps images in containerd by default.
    pub(super) containerd_since: Version,
    pub(super) link: String,
}

/// containerd's recommendation for a minor of Kubernetes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recommendation {
    /// `major.minor`.
    pub(super) minor: String,
    /// The oldest release of each line, oldest line first.
    pub(super) containerd: Vec<Version>,
    /// The last day of its patches.
    pub(super) until: String,
}

/// The versions of the CRI that releases speak. Only major and minor count for Kubernetes and for
/// `containerd_without_v1alpha2`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cri {
    /// The first containerd with v1.
    pub(super) containerd_v1: Version,
    pub(super) containerd_without_v1alpha2: Version,
    /// The first kubelet with v1.
    pub(super) kubelet_v1: Version,
    /// The first kubelet without v1alpha2.
    pub(super) kubelet_v1_only: Version,
    pub(super) link: String,
    pub(super) runtime_config: RuntimeConfig,
}

/// A CRI call that future kubelets will require, as upstream has announced.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuntimeConfig {
    pub(super) kubelet: Version,
    /// The first containerd that answers it.
    pub(super) containerd: Version,
    pub(super) link: String,
}

/// The versions of kubeadm's API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kubeadm {
    /// The first Kubernetes whose kubeadm does not read v1beta3.
    pub(super) without_v1beta3: Version,
    /// The first kind that writes v1beta4 for those releases.
    pub(super) kind_writes_v1beta4: Version,
    pub(super) link: String,
}

/// Which kubelets refuse a host with cgroup v1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CgroupV1 {
    /// The first Kubernetes whose kubelet does so by default.
    pub(super) kubelet: Version,
    pub(super) says: String,
    pub(super) link: String,
}

/// Flags that the kubelet no longer has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemovedFlags {
    pub(super) link: String,
    pub(super) flags: Vec<RemovedFlag>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemovedFlag {
    pub(super) flag: String,
    /// The first Kubernetes known to lack the flag.
    pub(super) since: Version,
    pub(super) cure: String,
}

/// Releases of containerd whose CRI plugin does not load with registry mirrors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mirrors {
    pub(super) broken: Vec<Version>,
    pub(super) fixed: Version,
    pub(super) says: String,
    pub(super) link: String,
}

/// A release of kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kind {
    pub(super) release: Version,
    pub(super) reads: Vec<u32>,
    /// The containerd in its default node image.
    pub(super) containerd: Version,
    /// Its default node image, `name:tag@sha256:…`.
    pub(super) node: String,
    /// Its node images for older Kubernetes.
    #[serde(default)]
    pub(super) others: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeImage {
    pub(super) containerd: Version,
    pub(super) node: String,
}

pub(super) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        serde_saphyr::from_str(include_str!("../../data/compat.yaml"))
            .expect("embedded compat.yaml must be well formed")
    })
}

impl Table {
    pub(super) fn line(&self, containerd: &Version) -> Option<&Line> {
        let line = minor(containerd);
        self.containerd.iter().find(|known| known.line == line)
    }

    pub(super) fn config(&self, version: u32) -> Option<&Config> {
        self.configs.iter().find(|config| config.version == version)
    }

    pub(super) fn kind(&self, release: &Version) -> Option<&Kind> {
        self.kind.iter().find(|kind| kind.release == *release)
    }

    /// containerd's recommendation for this Kubernetes.
    pub(super) fn recommended(&self, kubernetes: &Version) -> Option<&Recommendation> {
        let minor = minor(kubernetes);
        self.kubernetes.iter().find(|row| row.minor == minor)
    }
}

/// `major.minor`, which names a release line.
pub(super) fn minor(version: &Version) -> String {
    format!("{}.{}", version.major, version.minor)
}
