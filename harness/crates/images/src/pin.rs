//! Pins: the label that exempts an image from garbage collection, and which versions respect it.

use std::fmt;

use semver::Version;
use serde::Serialize;

use kubenest_base::{Error, Result};
use kubenest_node::node::{
    Node, Runtime,
    containerd::{ImageStore, Record},
};

/// Path in a node of the script that changes CRI-O's list of pinned images.
const PIN_IMAGES: &str = "/usr/local/lib/kubenest/pin-images";
/// CRI-O's list, with a name in quotes on each line.
const LIST: &str = "/etc/crio/crio.conf.d/20-pinned.conf";

/// The label that exempts an image from the kubelet's garbage collection.
pub(super) const PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");

/// What became of an image's pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pin {
    /// CRI says that the image is pinned, and the kubelet respects that.
    Held,
    /// CRI says that the image is pinned, but the kubelet ignores it (before 1.25.14, 1.26.9,
    /// 1.27.6 and 1.28.2): only the kubelet's settings keep the image.
    Overlooked,
    /// The daemon ignores pins (containerd before 1.6.25, and 1.7 before 1.7.10): only the
    /// kubelet's settings keep the image.
    Ignored,
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "pinned",
            Self::Overlooked => "pinned, which the kubelet overlooks",
            Self::Ignored => "not pinned: this containerd ignores pins",
        })
    }
}

/// Where a node's runtime has the pins of its images.
#[derive(Debug)]
pub(super) enum Pins {
    /// In labels of containerd's records.
    Labels {
        store: ImageStore,
        /// Whether this containerd respects them.
        heeded: bool,
    },
    /// In a list of CRI-O's configuration.
    List(Box<Node>),
}

/// Every method fails when the node does not answer or refuses.
impl Pins {
    pub(super) async fn open(node: &Node) -> Result<Self> {
        match node.runtime() {
            Runtime::Containerd => {
                let daemon = node.containerd().await?;
                Ok(Self::Labels {
                    store: daemon.image_store(),
                    heeded: heeds_pins(&daemon.version().await?),
                })
            }
            Runtime::CriO => Ok(Self::of_crio(node)),
        }
    }

    pub(super) fn of_crio(node: &Node) -> Self {
        Self::List(Box::new(node.clone()))
    }

    /// Whether the runtime respects pins.
    pub(super) fn heeded(&self) -> bool {
        match self {
            Self::Labels { heeded, .. } => *heeded,
            Self::List(_) => true,
        }
    }

    /// Whether the image has a pin by this name.
    pub(super) async fn has(&self, name: &str) -> Result<bool> {
        match self {
            Self::Labels { store, .. } => {
                let record = store.record(name).await?;
                Ok(record.is_some_and(|record| has_pin(&record)))
            }
            Self::List(node) => {
                let list = node.read_file(LIST).await?;
                Ok(lists(&String::from_utf8_lossy(&list), name))
            }
        }
    }

    /// Gives pins to these names, or takes them back. CRI shows it a moment later.
    pub(super) async fn set(&self, names: &[String], pinned: bool) -> Result<()> {
        match self {
            Self::Labels { store, .. } => {
                let value = if pinned { PINNED.1 } else { "" };
                for name in names {
                    store.label_record(name, PINNED.0, value).await?;
                }
            }
            Self::List(node) => {
                // The names become lines of TOML.
                if let Some(name) = names.iter().find(|name| name.contains(['"', '\\', '\n'])) {
                    return Err(Error::input(format!("{name:?} is no name of an image")));
                }
                let action = if pinned { "pin" } else { "unpin" };
                let names = names.iter().map(String::as_str);
                let argv: Vec<_> = [PIN_IMAGES, action].into_iter().chain(names).collect();
                node.exec_ok(&argv).await?;
            }
        }
        Ok(())
    }
}

/// Whether CRI-O's list has this name.
fn lists(list: &str, name: &str) -> bool {
    let line = format!("\"{name}\",");
    list.lines().any(|own| own.trim() == line)
}

/// Whether a record has the label of a pin.
pub(super) fn has_pin(record: &Record) -> bool {
    let pin = record.labels.get(PINNED.0);
    pin.is_some_and(|value| value == PINNED.1)
}

/// Whether CRI of this containerd reads the label from a record that CRI did not make.
pub(super) fn heeds_pins(version: &str) -> bool {
    let Ok(version) = Version::parse(version.trim_start_matches('v')) else {
        return true;
    };
    match (version.major, version.minor) {
        (0, _) | (1, ..6) => false,
        (1, 6) => version.patch >= 25,
        (1, 7) => version.patch >= 10,
        _ => true,
    }
}

/// Whether a kubelet respects pins. Older kubelets asked for pins and forgot the answer
/// (<https://github.com/kubernetes/kubernetes/pull/119986> and its backports).
pub(super) fn kubelet_heeds_pins(version: &str) -> bool {
    let Ok(version) = Version::parse(version.trim_start_matches('v')) else {
        return true;
    };
    match (version.major, version.minor) {
        (1, 28) => version.patch >= 2,
        (1, 27) => version.patch >= 6,
        (1, 26) => version.patch >= 9,
        (1, 25) => version.patch >= 14,
        (1, minor) => minor > 28,
        (major, _) => major > 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_heeded_from_the_documented_versions_on() {
        for (version, heeded) in [
            ("1.5.18", false),
            ("1.6.20", false),
            ("v1.6.24", false),
            ("v1.6.25", true),
            ("1.7.9", false),
            ("1.7.24~ds1", true),
            ("1.7.10", true),
            ("v2.0.2", true),
        ] {
            assert_eq!(heeds_pins(version), heeded, "{version}");
        }
    }

    #[test]
    fn a_name_is_in_the_list_only_as_a_whole() {
        let list = "[crio.image]\n  pinned_images = [\n    \"a.io/b:1\",\n  ]\n";
        assert!(lists(list, "a.io/b:1"));
        assert!(!lists(list, "a.io/b") && !lists(list, "b:1"));
    }

    #[test]
    fn kubelets_heed_pins_from_the_documented_versions_on() {
        for (version, heeded) in [
            ("1.24.17", false),
            ("1.25.13", false),
            ("1.25.14", true),
            ("1.26.8", false),
            ("1.26.9", true),
            ("v1.27.5", false),
            ("v1.27.6", true),
            ("1.28.1", false),
            ("1.28.2", true),
            ("1.29.0", true),
            ("1.32.1", true),
            ("", true),
        ] {
            assert_eq!(kubelet_heeds_pins(version), heeded, "{version}");
        }
    }
}
