//! The nodes that a test applies to, as its manifest states them: `containerd >=2.1`, `cri-o`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, bail};
use cargo_metadata::semver::{Version, VersionReq};
use serde::Deserialize;

/// The parts of a node that a condition can name, each with its name among a node's versions.
const PARTS: [(&str, &str); 3] = [
    ("containerd", "containerd"),
    ("cri-o", "crio"),
    ("kubernetes", "kubernetes"),
];

/// A part that a node must have, and the versions of the part that meet the condition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Condition {
    part: String,
    /// The name of the part among a node's versions.
    key: String,
    versions: VersionReq,
}

impl Condition {
    /// Whether a node with these versions meets it. A part of unknown version does not.
    pub(crate) fn is_met_by(&self, versions: &BTreeMap<String, String>) -> bool {
        let version = versions.get(&self.key);
        let version = version.and_then(|version| Version::parse(version).ok());
        version.is_some_and(|version| self.versions.matches(&version))
    }
}

impl TryFrom<String> for Condition {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        let (part, versions) = text.trim().split_once(' ').unwrap_or((text.trim(), "*"));
        let Some((_, key)) = PARTS.into_iter().find(|(name, _)| *name == part) else {
            let parts = PARTS.map(|(name, _)| name).join(", ");
            bail!("{part:?} is no part of a node; the parts are {parts}");
        };
        let versions = VersionReq::parse(versions.trim());
        let versions = versions.with_context(|| format!("the versions in {text:?}"))?;
        Ok(Self {
            part: part.to_owned(),
            key: key.to_owned(),
            versions,
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.versions == VersionReq::STAR {
            return f.write_str(&self.part);
        }
        write!(f, "{} {}", self.part, self.versions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(text: &str) -> Condition {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn a_part_is_compared_by_its_version() {
        let versions = [("kubernetes", "1.34.3"), ("crio", "1.34.0")];
        let versions = versions.map(|(part, version)| (part.to_owned(), version.to_owned()));
        let node = BTreeMap::from(versions);
        for (text, met) in [
            ("cri-o", true),
            ("cri-o >=1.35", false),
            ("kubernetes >=1.32, <1.35", true),
            ("kubernetes <1.34", false),
            ("containerd", false),
        ] {
            assert_eq!(condition(text).is_met_by(&node), met, "{text}");
            assert_eq!(condition(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_part_or_no_version_is_named() {
        let error = |text: &str| {
            let refused = Condition::try_from(text.to_owned()).unwrap_err();
            format!("{refused:#}")
        };
        assert_eq!(
            error("crio"),
            "\"crio\" is no part of a node; the parts are containerd, cri-o, kubernetes"
        );
        let words = error("containerd newest");
        assert!(
            words.starts_with("the versions in \"containerd newest\": "),
            "{words}"
        );
    }
}
