//! The data model of a node image recipe: its components and their sources.

mod embedded;
mod file;
mod go;
mod image_ref;
mod short;
mod source;
mod versions;

use std::path::Path;

use kubenest_base::digest::sha256_hex;
use serde::Serialize;

pub use go::{CParts, GoBuild};
pub use image_ref::ImageRef;
pub use source::Source;
pub use source::{hash_file, hash_folder, is_executable};
pub use versions::Versions;

use kubenest_base::{Error, Result};

/// Part of every hash; raised when the same recipe starts to produce other bytes.
const FORMAT: &str = "kubenest recipe 1";

/// The description of a node image: a whole image, or parts with versions of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recipe {
    /// The name by which it was requested, such as `v1.32.1-containerd-2.0.2`.
    pub name: String,
    /// What the image is made of.
    pub content: Content,
}

/// What a recipe's image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A ready-made node image, used unchanged.
    Image(ImageRef),
    /// An image put together from parts.
    Parts(Box<Parts>),
}

/// The parts of a node image; `kubenest_forge::component::provide` provides each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// kubelet, kubeadm, kubectl and the control plane's programs.
    pub kubernetes: Component,
    /// The container runtime.
    pub runtime: RuntimeParts,
    /// runc; `None` for the node OS's own.
    pub runc: Option<Component>,
    /// The CNI plugins; `None` for the node OS's own.
    pub cni: Option<Component>,
    /// etcd, with the libraries it is linked against.
    pub etcd: Component,
    /// `CoreDNS`.
    pub coredns: Component,
    /// The sandbox container's program.
    pub pause: Component,
    /// The node's root file system.
    pub os: Component,
    /// The userland below kube-proxy in its image.
    pub proxy_os: Component,
    /// How the runtime is set up.
    pub settings: RuntimeSettings,
}

/// A node's container runtime: the daemon and its helper programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeParts {
    /// containerd.
    Containerd {
        /// The daemon and `ctr`.
        daemon: Component,
        /// `containerd-shim-runc-v2`; the daemon's own source unless the recipe says otherwise.
        shim: Component,
    },
    /// CRI-O.
    Crio {
        /// The daemon and `pinns`.
        daemon: Component,
        /// The containers' monitor; `None` for the node OS's own.
        conmon: Option<Component>,
        /// The OCI runtime; `None` for the node OS's runc.
        crun: Option<Component>,
    },
}

/// How a node's container runtime is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeSettings {
    /// Whether systemd (not the runtime itself) makes the containers' cgroups.
    pub systemd_cgroup: bool,
    /// The snapshotter containerd unpacks images into, such as `overlayfs`.
    pub snapshotter: String,
}

/// One part of a node: what it is, which version, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Which part of the node this is.
    pub role: Role,
    /// The version without a leading `v`; an OS has its suite here.
    pub version: String,
    /// Where its files come from.
    pub source: Source,
}

/// The parts a node can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The Kubernetes programs.
    Kubernetes,
    /// The containerd daemon.
    Containerd,
    /// containerd's shim for runc.
    Shim,
    /// The CRI-O daemon.
    Crio,
    /// CRI-O's monitor of a container.
    Conmon,
    /// CRI-O's OCI runtime.
    Crun,
    /// The OCI runtime.
    Runc,
    /// The CNI plugins.
    Cni,
    /// etcd.
    Etcd,
    /// `CoreDNS`.
    Coredns,
    /// The sandbox container's program.
    Pause,
    /// The node's root file system.
    Os,
    /// kube-proxy's root file system.
    ProxyOs,
}

impl Recipe {
    /// Reads an embedded recipe by its name or a [short one](Self::full_name).
    ///
    /// # Errors
    /// Input when no recipe has that name; the cure lists the known ones.
    pub fn named(name: &str) -> Result<Self> {
        let name = Self::full_name(name).unwrap_or(name);
        file::resolve(name, embedded::recipe(name)?, Path::new("."))
    }

    /// The name of the embedded recipe that a text means: its own name, or a short one, which
    /// means the newest that fits.
    ///
    /// ```
    /// # use kubenest_recipe as kubenest;
    /// use kubenest::recipe::Recipe;
    ///
    /// let name = Recipe::full_name("1.34").unwrap_or_default();
    /// assert!(name.starts_with("v1.34.") && name.contains("containerd"));
    /// assert!(Recipe::full_name("cri-o").is_some_and(|name| name.contains("cri-o")));
    /// assert!(Recipe::full_name("latest").is_some());
    /// assert_eq!(Recipe::full_name("1.2"), None);
    /// ```
    #[must_use]
    pub fn full_name(name: &str) -> Option<&'static str> {
        let names = Self::names();
        let own = names.iter().find(|own| **own == name).copied();
        own.or_else(|| short::resolve(&names, name))
    }

    /// Reads a user's recipe; relative folders in it start from its own folder.
    ///
    /// # Errors
    /// Input when the file cannot be read or is invalid.
    pub fn file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Error::input(format!("cannot read recipe {}", path.display()))
                .because(cause)
                .cure("check the path and its permissions")
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        file::resolve(&path.display().to_string(), &text, folder)
    }

    /// Takes a whole node image, `name[:tag]@sha256:…`, as the recipe.
    ///
    /// # Errors
    /// Input when the text is no image reference or has no digest.
    pub fn image(reference: &str) -> Result<Self> {
        let image = ImageRef::pinned(reference)?;
        Ok(Self {
            name: reference.to_owned(),
            content: Content::Image(image),
        })
    }

    /// The names of the embedded recipes, sorted.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        embedded::recipe_names()
    }

    /// The content address: sha256, in hex, over everything that determines the image's bytes,
    /// including lock files of Go modules and this machine's architecture, but not the name.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut lines = vec![FORMAT.to_owned(), std::env::consts::ARCH.to_owned()];
        match &self.content {
            Content::Image(image) => lines.push(format!("image {image}")),
            Content::Parts(parts) => {
                lines.extend(parts.components().map(|part| {
                    format!(
                        "{} {} {}",
                        part.role.name(),
                        part.version,
                        part.source.hash()
                    )
                }));
                let settings = serde_json::to_string(&parts.settings);
                lines.push(settings.expect("settings must be plain data"));
            }
        }
        sha256_hex(lines.join("\n").as_bytes())
    }
}

impl Parts {
    /// All components of the recipe, in the order of the fields.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        let Self {
            kubernetes,
            runtime,
            runc,
            cni,
            etcd,
            coredns,
            pause,
            ..
        } = self;
        std::iter::once(kubernetes)
            .chain(runtime.components())
            .chain(runc)
            .chain(cni)
            .chain([etcd, coredns, pause, &self.os, &self.proxy_os])
    }
}

impl RuntimeParts {
    /// The runtime's components, the daemon first.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        let (daemon, others) = match self {
            Self::Containerd { daemon, shim } => (daemon, [Some(shim), None]),
            Self::Crio {
                daemon,
                conmon,
                crun,
            } => (daemon, [conmon.as_ref(), crun.as_ref()]),
        };
        std::iter::once(daemon).chain(others.into_iter().flatten())
    }

    /// The version of the component with this role.
    pub fn version(&self, role: Role) -> Option<&str> {
        let mut all = self.components();
        let found = all.find(|component| component.role == role)?;
        Some(&found.version)
    }
}

impl Role {
    /// The field of a recipe that names it, such as `proxy_os`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Containerd => "containerd",
            Self::Shim => "shim",
            Self::Crio => "crio",
            Self::Conmon => "conmon",
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Cni => "cni",
            Self::Etcd => "etcd",
            Self::Coredns => "coredns",
            Self::Pause => "pause",
            Self::Os => "os",
            Self::ProxyOs => "proxy_os",
        }
    }

    /// Whether it is a whole root file system rather than a set of programs.
    #[must_use]
    pub fn is_os(self) -> bool {
        matches!(self, Self::Os | Self::ProxyOs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_recipe_resolves_to_a_hash_of_its_own() {
        let hashes: std::collections::BTreeSet<String> = Recipe::names()
            .iter()
            .map(|name| Recipe::named(name).unwrap().hash())
            .collect();
        assert_eq!(hashes.len(), Recipe::names().len());
        assert!(hashes.iter().all(|hash| hash.len() == 64));
    }

    #[test]
    fn every_generation_of_each_runtime_is_there() {
        let wanted = [
            "skew-1.7.24-shim-2.0.2",
            "v1.32.1-containerd-1.6.20",
            "v1.32.1-containerd-1.7.24",
            "v1.32.1-containerd-2.0.2",
            "v1.32.1-containerd-2.1.9",
            "v1.32.1-containerd-2.1.9-native",
            "v1.32.1-containerd-2.3.4",
            "v1.32.1-containerd-2.4.2",
            "v1.33.1-containerd-2.1.9",
            "v1.34.3-containerd-2.3.4",
            "v1.34.3-cri-o-1.34.0",
            "v1.35.4-containerd-2.3.4",
            "v1.36.3-containerd-2.3.4",
            "v1.37.2-containerd-2.4.2",
        ];
        assert_eq!(Recipe::names(), wanted);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Recipe::named("v9.99").unwrap_err();
        assert!(error.to_string().contains("v9.99"));
        assert!(
            error
                .cure_text()
                .unwrap()
                .contains("v1.32.1-containerd-2.0.2")
        );
    }

    #[test]
    fn the_skew_recipe_has_daemon_and_shim_of_two_generations() {
        let recipe = Recipe::named("skew-1.7.24-shim-2.0.2").unwrap();
        let Content::Parts(parts) = recipe.content else {
            panic!("must be built of parts")
        };
        assert_eq!(parts.runtime.version(Role::Containerd), Some("1.7.24"));
        assert_eq!(parts.runtime.version(Role::Shim), Some("2.0.2"));
        assert_eq!(parts.kubernetes.version, "1.32.1");
    }

    #[test]
    fn a_missing_file_is_named_in_the_error() {
        let error = Recipe::file(Path::new("/nowhere/r.yaml")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/r.yaml"));
    }
}
