//! The versions of a node's parts.

use serde::{Deserialize, Serialize};

use super::{Component, Parts, Role};

/// The versions a node image is made of; what is not known of a foreign image is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
