//! Which versions are known to work together, and which are not.
//!
//! Checked before a boot, so that a known-bad pair costs milliseconds and a sentence, not a cluster
//! and a riddle; and again when the nodes report what really runs. All answers come from a table,
//! `data/compat.yaml`.

mod check;
mod crio;
mod kubernetes;
mod stack;
mod table;

use semver::Version;

pub use self::kubernetes::refuses_cgroup_v1;
pub use self::stack::{Finding, ImageStore, Stack, after_boot, before_boot, refuse_known_bad};
use self::table::{Form, Kind, Line, table};
pub use self::{
    check::Check,
    kubernetes::{cgroup_v1, end_of_life, kubeadm, kubelet_flag, kubernetes, registry_mirrors},
};
use kubenest_base::{Error, Result};

/// Parses a version as programs print it: without a leading `v`, and without a suffix that is not
/// semver, such as a distribution's revision.
pub fn version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    Version::parse(text)
        .ok()
        .or_else(|| Version::parse(&text[..end?]).ok())
}

/// The knowledge about a pair of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    KnownGood,
    /// It fails.
    KnownBad {
        /// The versions, what fails and why.
        cause: String,
        /// The literal message of the part that fails.
        says: String,
        /// What to change.
        cure: String,
        /// Upstream's issue about it.
        link: String,
    },
    /// The pair is not in the table, or the answer depends on more than versions.
    Unknown {
        /// Why it is unknown.
        why: String,
    },
}

impl Verdict {
    /// Passes unless the pair is known to fail.
    ///
    /// # Errors
    /// Refused, with cause, cure and link, when the pair is known to fail.
    pub fn refuse_known_bad(self) -> Result<()> {
        match self {
            Self::KnownBad {
                cause, cure, link, ..
            } => Err(Error::refused(cause).cure(format!("{cure}; see {link}"))),
            Self::KnownGood | Self::Unknown { .. } => Ok(()),
        }
    }

    fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }
}

/// Whether `kind load` of this release can load images into a node with this containerd and
/// its default snapshotter.
///
/// ```
/// # use kubenest_recipe as kubenest;
/// use kubenest::compat::{Verdict, loader};
///
/// let (v26, v27) = ("0.26.0".parse()?, "0.27.0".parse()?);
/// let containerd = "2.0.2".parse()?;
/// assert!(matches!(loader(&v26, &containerd), Verdict::KnownBad { .. }));
/// assert_eq!(loader(&v27, &containerd), Verdict::KnownGood);
/// # Ok::<(), semver::Error>(())
/// ```
pub fn loader(kind: &Version, containerd: &Version) -> Verdict {
    match known_line(containerd) {
        Ok(line) => load(kind, containerd, line.config, None),
        // An unknown kind release is the better reason: it makes every pair unknown.
        Err(unknown) => known_kind(kind).err().unwrap_or(unknown),
    }
}

/// As [`loader`], for a node with this version of `containerd config dump` and this snapshotter, if
/// it is known.
fn load(kind: &Version, containerd: &Version, config: u32, snapshotter: Option<&str>) -> Verdict {
    let release = match known_kind(kind) {
        Ok(release) => release,
        Err(unknown) => return unknown,
    };
    if !release.reads.contains(&config) {
        return unreadable_config(release, containerd, config);
    }
    imports(containerd, snapshotter)
}

/// Whether `ctr images import`, as `kind load` calls it, can unpack for this snapshotter; `None` is
/// the default one.
pub fn imports(containerd: &Version, snapshotter: Option<&str>) -> Verdict {
    let line = match known_line(containerd) {
        Ok(line) => line,
        Err(unknown) => return unknown,
    };
    let import = &table().import;
    let cannot = |flag: &str, cure: String, link: &str| Verdict::KnownBad {
        cause: format!(
            "`kind load` cannot load images into a node with containerd {containerd}: its \
             `ctr images import {flag}` fails with `{NOT_UNPACKED}`"
        ),
        says: NOT_UNPACKED.to_owned(),
        cure,
        link: link.to_owned(),
    };
    if import.broken.contains(containerd) {
        let cure = format!("use containerd {} or newer in the node", import.fixed);
        return cannot("--all-platforms", cure, &import.link);
    }
    match snapshotter {
        Some(other) if line.transfer && other != import.unpacks => cannot(
            &format!("--snapshotter={other}"),
            format!(
                "use the snapshotter {}, or give containerd an unpack_config for {other} in \
                 plugins.\"io.containerd.transfer.v1.local\"",
                import.unpacks
            ),
            &import.transfer_link,
        ),
        _ => Verdict::KnownGood,
    }
}

const NOT_UNPACKED: &str = "unable to initialize unpacker: no unpack platforms defined";

/// Whether a containerd daemon understands the answer of a shim of another release.
pub fn shim(daemon: &Version, shim: &Version) -> Verdict {
    let (ours, theirs) = match (known_line(daemon), known_line(shim)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(unknown), _) | (_, Err(unknown)) => return unknown,
    };
    if ours.shim == Form::Protobuf && theirs.line == "1.6" {
        // Observed with 1.6.20 under 2.3.4; the exact range of affected releases is not known.
        return Verdict::unknown(format!(
            "containerd of the {} line reads its answer, but pods were seen to fail with `type \
             with url …: not found`",
            ours.line
        ));
    }
    if theirs.shim <= ours.shim {
        return Verdict::KnownGood;
    }
    let (link, text) = match (ours.line.as_str(), theirs.shim) {
        ("1.6", Form::Json) => (SHIM_V3, "connect: invalid argument"),
        (_, Form::Address | Form::Json) => {
            (SHIM_V3, "unsupported shim version (3): not implemented")
        }
        ("1.6", Form::Protobuf) => (SHIM_PROTOBUF, "connect: connection refused"),
        ("1.7", Form::Protobuf) => (SHIM_PROTOBUF, "failed to create TTRPC connection"),
        (_, Form::Protobuf) => (SHIM_PROTOBUF, "unsupported protocol"),
    };
    Verdict::KnownBad {
        cause: format!(
            "containerd {daemon} cannot start containers with the shim of containerd {shim}: \
             the shim answers in a newer form than the daemon reads (`{text}`)"
        ),
        says: text.to_owned(),
        cure: format!(
            "put the shim of containerd {} in the node, and restart containerd after an upgrade",
            ours.line
        ),
        link: link.to_owned(),
    }
}

const SHIM_V3: &str = "https://github.com/kubernetes/kubernetes/issues/130590";
const SHIM_PROTOBUF: &str = "https://github.com/containerd/containerd/issues/13763";

/// Whether a pod can mount an image as a volume with this containerd.
pub fn image_volume(containerd: &Version) -> Verdict {
    let line = match known_line(containerd) {
        Ok(line) => line,
        Err(unknown) => return unknown,
    };
    if line.image_volume {
        return Verdict::KnownGood;
    }
    let first = table().containerd.iter().find(|line| line.image_volume);
    let first = first.map_or("", |line| line.line.as_str());
    Verdict::KnownBad {
        cause: format!(
            "containerd {containerd} cannot mount an image as a volume: it takes the mount for \
             an empty host path (`{NO_HOST_PATH}`)"
        ),
        says: NO_HOST_PATH.to_owned(),
        cure: format!("use containerd {first} or newer in the node"),
        link: "https://github.com/containerd/containerd/pull/10579".to_owned(),
    }
}

const NO_HOST_PATH: &str = "failed to mkdir \"\"";

/// Whether a client of this release of cri-api, such as `0.30.0` (that of Kubernetes 1.30), can ask
/// for an image volume.
pub fn cri_client(revision: &Version) -> Verdict {
    let known = &table().cri_client;
    let first = &known.image_mount;
    // Release candidates of the first release have the field too.
    if (revision.major, revision.minor) >= (first.major, first.minor) {
        return Verdict::KnownGood;
    }
    Verdict::KnownBad {
        cause: format!(
            "a CRI client of cri-api {revision} cannot ask for an image volume: it drops the \
             mount's image without a word, and the runtime gets an empty host path \
             (`{NO_HOST_PATH}` from containerd, `mount.HostPath is empty` from CRI-O)"
        ),
        says: NO_HOST_PATH.to_owned(),
        cure: format!("use a client of cri-api {first} or newer, such as crictl 1.31"),
        link: known.link.clone(),
    }
}

/// Whether `kind load docker-image` gets complete images out of an engine. For containerd's store
/// that depends on the image, which is not known in advance.
pub fn image_store(store: ImageStore) -> Verdict {
    match store {
        ImageStore::Graph => Verdict::KnownGood,
        ImageStore::Containerd => Verdict::unknown(format!(
            "of an image for several platforms, `docker save` writes an index with platforms \
             that the engine has not pulled, and `kind load docker-image` of it ends with \
             `content digest sha256:…: not found`; save such an image with `docker image save \
             --platform` and use `kind load image-archive`; see {}",
            table().image_store.link
        )),
    }
}

/// The containerd in a published node image, if the table has that image. Only the digest counts,
/// because tags are pushed again with other content.
pub fn containerd_in(image: &str) -> Option<&'static Version> {
    published_image(image).map(|(_, containerd)| containerd)
}

/// The Kubernetes in a published node image, if the table has that image.
pub fn kubernetes_in(image: &str) -> Option<Version> {
    let (node, _) = published_image(image)?;
    let (name, _) = node.split_once('@')?;
    version(name.rsplit_once(':')?.1)
}

/// The image in the table with the same digest, and its containerd.
fn published_image(image: &str) -> Option<(&'static str, &'static Version)> {
    let digest = image.split_once('@')?.1;
    let releases = table().kind.iter().flat_map(|kind| {
        let images = std::iter::once(&kind.node).chain(&kind.others);
        images.map(|node| (node.as_str(), &kind.containerd))
    });
    let strays = table()
        .strays
        .iter()
        .map(|stray| (stray.node.as_str(), &stray.containerd));
    releases
        .chain(strays)
        .find(|(node, _)| node.ends_with(&format!("@{digest}")))
}

/// The default node image of a kind release, `name:tag@sha256:…`.
pub fn default_node(kind: &Version) -> Option<&'static str> {
    table().kind(kind).map(|release| release.node.as_str())
}

fn known_line(containerd: &Version) -> Result<&'static Line, Verdict> {
    table().line(containerd).ok_or_else(|| {
        Verdict::unknown(format!(
            "containerd {containerd} is of no release line in the table"
        ))
    })
}

fn known_kind(release: &Version) -> Result<&'static Kind, Verdict> {
    table()
        .kind(release)
        .ok_or_else(|| Verdict::unknown(format!("kind {release} is not in the table")))
}

fn unreadable_config(kind: &Kind, containerd: &Version, config: u32) -> Verdict {
    let release = &kind.release;
    // Releases that read only one version look for its key and never at the version itself.
    let (problem, says) = if let [only] = kind.reads[..] {
        let key = table()
            .config(only)
            .map_or("", |config| config.key.as_str());
        (
            format!("has no key {key}"),
            "failed to detect containerd snapshotter".to_owned(),
        )
    } else {
        (
            "is newer than it reads".to_owned(),
            format!(
                "unknown containerd config version: {config} (supported versions: {})",
                join_for_people(&kind.reads)
            ),
        )
    };
    let able = table()
        .kind
        .iter()
        .find(|kind| kind.reads.contains(&config));
    let able = able.map(|kind| format!("kind >= {}", kind.release));
    let mut lines = table().containerd.iter().rev();
    let older = lines.find(|line| kind.reads.contains(&line.config));
    let older = older.map(|line| format!("containerd {}.x in the node", line.line));
    let cures: Vec<String> = able.into_iter().chain(older).collect();
    Verdict::KnownBad {
        cause: format!(
            "kind {release} cannot load images into a node with containerd {containerd}: \
             `containerd config dump` there is version {config}, which {problem}, so `kind load` \
             ends with `{says}`"
        ),
        says,
        cure: format!("use {}", cures.join(", or ")),
        link: table()
            .config(config)
            .map(|config| config.link.clone())
            .unwrap_or_default(),
    }
}

/// A list for people: `2, 3 and 4`.
fn join_for_people(numbers: &[u32]) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    match &words[..] {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests;
