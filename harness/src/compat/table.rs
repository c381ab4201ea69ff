//! The table behind the verdicts: `fixtures/data/compat.yaml`, read once.

use std::sync::OnceLock;

use semver::Version;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// Oldest first.
    pub(super) containerd: Vec<Line>,
    pub(super) configs: Vec<Config>,
    pub(super) import: Import,
    pub(super) cri_client: CriClient,
    pub(super) image_store: Store,
    /// Oldest first.
    pub(super) kubernetes: Vec<Recommended>,
    /// Oldest first.
    pub(super) kind: Vec<Kind>,
    pub(super) strays: Vec<NodeImage>,
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
}

/// How a shim tells where it listens; a daemon reads its own form and older ones.
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
    pub(super) version: u32,
    /// Where it has the snapshotter's name.
    pub(super) key: String,
    pub(super) link: String,
}

/// When `ctr images import`, as `kind load` calls it, cannot unpack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    /// Releases that never can.
    pub(super) broken: Vec<Version>,
    pub(super) fixed: Version,
    pub(super) link: String,
    /// The only snapshotter for which the transfer service can.
    pub(super) unpacks: String,
    pub(super) hidden: Hidden,
    pub(super) transfer_link: String,
}

/// Releases whose `containerd config dump` does not name the snapshotter of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hidden {
    pub(super) line: String,
    pub(super) fixed: Version,
}

impl Hidden {
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
    /// The first Docker whose default it is to keep images in containerd.
    pub(super) containerd_since: Version,
    pub(super) link: String,
}

/// What containerd recommends for a minor of Kubernetes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recommended {
    /// `major.minor`.
    pub(super) minor: String,
    /// The oldest release of each line, oldest line first.
    pub(super) containerd: Vec<Version>,
}

/// A release of kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kind {
    pub(super) release: Version,
    pub(super) reads: Vec<u32>,
    /// What its default node image runs.
    pub(super) containerd: Version,
    /// Its default node image, `name:tag@sha256:…`.
    pub(super) node: String,
    /// Images for older Kubernetes that were built for it.
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

    /// What containerd recommends for this Kubernetes.
    pub(super) fn recommended(&self, kubernetes: &Version) -> Option<&Recommended> {
        let minor = minor(kubernetes);
        self.kubernetes.iter().find(|row| row.minor == minor)
    }
}

/// `major.minor`, which names a release line.
pub(super) fn minor(version: &Version) -> String {
    format!("{}.{}", version.major, version.minor)
}
