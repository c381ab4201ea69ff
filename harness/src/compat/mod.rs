//! Which versions are known to work together, and which are known not to.
//!
//! Asked before a boot, so that a pair known to fail costs milliseconds and a sentence, not a
//! cluster and a riddle. Pure: the answers come from a table, `fixtures/data/compat.yaml`.

mod table;

use semver::Version;

use self::table::{Form, Kind, Line, table};
use crate::{Error, Result};

/// What is known of a pair of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    KnownGood,
    /// It fails.
    KnownBad {
        /// Which versions, what fails and why.
        cause: String,
        /// What to change.
        cure: String,
        /// Where upstream has it.
        link: String,
    },
    /// It is not in the table.
    Unknown {
        /// What is missing there.
        why: String,
    },
}

impl Verdict {
    /// Lets pass what is not known to fail.
    ///
    /// # Errors
    /// Refused, with cause, cure and link, when the pair is known to fail.
    pub fn refuse_known_bad(self) -> Result<()> {
        match self {
            Self::KnownBad { cause, cure, link } => {
                Err(Error::refused(cause).cure(format!("{cure}; see {link}")))
            }
            Self::KnownGood | Self::Unknown { .. } => Ok(()),
        }
    }
}

/// Whether `kind load` of this release can load images into a node with this containerd and
/// its default snapshotter.
///
/// ```
/// use kubenest::compat::{Verdict, loader};
///
/// let (v26, v27) = ("0.26.0".parse()?, "0.27.0".parse()?);
/// let containerd = "2.0.2".parse()?;
/// assert!(matches!(loader(&v26, &containerd), Verdict::KnownBad { .. }));
/// assert_eq!(loader(&v27, &containerd), Verdict::KnownGood);
/// # Ok::<(), semver::Error>(())
/// ```
pub fn loader(kind: &Version, containerd: &Version) -> Verdict {
    let Some(release) = table().kind(kind) else {
        return Verdict::Unknown {
            why: format!("kind {kind} is not in the table"),
        };
    };
    let line = match known_line(containerd) {
        Ok(line) => line,
        Err(unknown) => return unknown,
    };
    if !release.reads.contains(&line.config) {
        return unread(release, containerd, line);
    }
    let broken = &table().broken_import;
    if broken.releases.contains(containerd) {
        return Verdict::KnownBad {
            cause: format!(
                "kind {kind} cannot load images into a node with containerd {containerd}: its \
                 `ctr images import --all-platforms` fails with `unable to initialize unpacker: \
                 no unpack platforms defined`"
            ),
            cure: format!("use containerd {} or newer in the node", broken.fixed),
            link: broken.link.clone(),
        };
    }
    Verdict::KnownGood
}

/// Whether a containerd daemon understands what a shim of another release answers.
pub fn shim(daemon: &Version, shim: &Version) -> Verdict {
    let (ours, theirs) = match (known_line(daemon), known_line(shim)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(unknown), _) | (_, Err(unknown)) => return unknown,
    };
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
             an empty host path (`failed to mkdir \"\"`)"
        ),
        cure: format!("use containerd {first} or newer in the node"),
        link: "https://github.com/containerd/containerd/pull/10579".to_owned(),
    }
}

/// The containerd in a published node image, if the table has that image. Only the digest
/// counts: tags are pushed again with other content.
pub fn containerd_in(image: &str) -> Option<&'static Version> {
    let digest = image.split_once('@')?.1;
    let releases = table()
        .kind
        .iter()
        .map(|kind| (&kind.node, &kind.containerd));
    let strays = table()
        .strays
        .iter()
        .map(|stray| (&stray.node, &stray.containerd));
    releases
        .chain(strays)
        .find(|(node, _)| node.ends_with(&format!("@{digest}")))
        .map(|(_, containerd)| containerd)
}

/// The default node image of a kind release, `name:tag@sha256:…`.
pub(crate) fn default_node(kind: &Version) -> Option<&'static str> {
    table().kind(kind).map(|release| release.node.as_str())
}

fn known_line(containerd: &Version) -> Result<&'static Line, Verdict> {
    table().line(containerd).ok_or_else(|| Verdict::Unknown {
        why: format!("containerd {containerd} is of no release line in the table"),
    })
}

fn unread(kind: &Kind, containerd: &Version, line: &Line) -> Verdict {
    let release = &kind.release;
    // Releases that read one version only look for its key, without looking at the version.
    let (problem, text) = if let [only] = kind.reads[..] {
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
            format!("unknown containerd config version: {}", line.config),
        )
    };
    let able = table()
        .kind
        .iter()
        .find(|kind| kind.reads.contains(&line.config));
    let able = able.map(|kind| format!("kind >= {}", kind.release));
    let lines = table().containerd.iter().rev();
    let older = lines
        .into_iter()
        .find(|line| kind.reads.contains(&line.config));
    let older = older.map(|line| format!("containerd {}.x in the node", line.line));
    let cures: Vec<String> = able.into_iter().chain(older).collect();
    Verdict::KnownBad {
        cause: format!(
            "kind {release} cannot load images into a node with containerd {containerd}: \
             `containerd config dump` there is version {}, which {problem}, so `kind load` ends \
             with `{text}`",
            line.config
        ),
        cure: format!("use {}", cures.join(", or ")),
        link: table()
            .config(line.config)
            .map(|config| config.link.clone())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
