//! The versions of a node's parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Component, Parts, Role};

/// The versions in a node image; empty strings where the version in a foreign image is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Versions {
    /// Kubernetes, without `v`.
    pub kubernetes: String,
    /// The containerd daemon.
    pub containerd: String,
    /// Its shim.
    pub shim: String,
    /// The CRI-O daemon.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub crio: String,
}

impl Versions {
    /// The known versions, by the name of the part.
    #[must_use]
    pub fn by_part(&self) -> BTreeMap<String, String> {
        let all = [
            ("kubernetes", &self.kubernetes),
            ("containerd", &self.containerd),
            ("shim", &self.shim),
            ("crio", &self.crio),
        ];
        let known = all.into_iter().filter(|(_, version)| !version.is_empty());
        known
            .map(|(part, version)| (part.to_owned(), version.clone()))
            .collect()
    }
}

impl Parts {
    /// The components with a layer of their own, the lowest first.
    pub fn layered(&self) -> impl Iterator<Item = &Component> {
        let Self {
            os,
            kubernetes,
            runtime,
            runc,
            cni,
            ..
        } = self;
        [os, kubernetes]
            .into_iter()
            .chain(runtime.components())
            .chain(runc)
            .chain(cni)
    }

    /// The versions of the parts.
    pub fn versions(&self) -> Versions {
        let version = |role| self.runtime.version(role).unwrap_or_default().to_owned();
        Versions {
            kubernetes: self.kubernetes.version.clone(),
            containerd: version(Role::Containerd),
            shim: version(Role::Shim),
            crio: version(Role::Crio),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_version_is_left_out() {
        let versions = Versions {
            kubernetes: "1.32.1".into(),
            ..Versions::default()
        };
        let known = BTreeMap::from([("kubernetes".to_owned(), "1.32.1".to_owned())]);
        assert_eq!(versions.by_part(), known);
    }
}
