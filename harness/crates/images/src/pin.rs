//! Pins: the label that exempts an image from garbage collection, and which versions respect it.

use std::fmt;

use semver::Version;
use serde::Serialize;

use kubenest_node::node::containerd::Record;

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
