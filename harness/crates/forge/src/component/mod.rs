//! Components of a node, from their sources into the cache.

mod layout;
#[cfg(feature = "build")]
mod make;
#[cfg(not(feature = "build"))]
#[path = "unprepared.rs"]
mod make;

use std::path::{Path, PathBuf};

use crate::package::Package;
use kubenest_base::digest::sha256_hex;
use kubenest_base::{Error, Result, store::Store};
use kubenest_recipe::recipe::{Component, GoBuild, Source};

/// Goes into every key; raised when the same component is laid out differently.
const FORMAT: &str = "kubenest component 1";

/// A component's files in the cache. They belong to the cache: read them, never write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// What goes into the node, laid out as below its root; may not exist when
    /// nothing does, as for etcd.
    pub files: PathBuf,
    /// Names the content, for image layers: two builds of one hash are interchangeable.
    pub hash: String,
    dir: PathBuf,
}

impl Built {
    /// What goes into the container image of that name (`kube-apiserver`, `etcd`, …),
    /// laid out as below its root.
    #[must_use]
    pub fn image_root(&self, image: &str) -> PathBuf {
        self.dir.join("images").join(image)
    }

    /// The tar of a whole root file system; only an OS has one.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join(layout::ROOTFS)
    }
}

/// Gives a component's files: from the cache, or made now while other
/// processes that want the same wait.
///
/// # Errors
/// Input when the source does not hold the component; set-up when it cannot
/// be fetched or built; refused when it is not what it was pinned to.
pub async fn provide(component: &Component) -> Result<Built> {
    provide_in(&Store::default_cache(), component).await
}

async fn provide_in(store: &Store, component: &Component) -> Result<Built> {
    let Component { role, source, .. } = component;
    // One source is made once for all its roles: a daemon and its shim are one build.
    let kind = if role.is_os() {
        role.name()
    } else {
        "programs"
    };
    let arch = std::env::consts::ARCH;
    let hash = sha256_hex(format!("{FORMAT}\n{arch}\n{kind}\n{}", source.hash()).as_bytes());
    let label = label(component);
    let key = format!("{label}-{}", &hash[..16]);
    let lacking =
        |missing| Error::input(format!("{label} does not hold {}", role.name())).because(missing);
    let entry = store
        .entry("component", &key, async |dir| {
            make::component(&label, component, dir).await?;
            // Before it is kept: what is asked for later may be another role.
            layout::check(&dir.join(role.name()), *role).map_err(lacking)
        })
        .await?;
    let dir = entry.join(role.name());
    layout::check(&dir, *role).map_err(lacking)?;
    let hash = sha256_hex(format!("{} {hash}", role.name()).as_bytes());
    Ok(Built {
        files: dir.join(layout::NODE),
        hash,
        dir,
    })
}

/// The folder with the programs of a Go module, which are built if they are not in the cache.
///
/// # Errors
/// They are not in the cache and cannot be built.
pub async fn programs(store: &Store, build: &GoBuild) -> Result<PathBuf> {
    // Another tag or stamp makes other programs of the same release.
    let key = format!("{}-{}", build.name(), &Source::Go(*build).hash()[..16]);
    let make = async |dir: &Path| make::programs(build, dir).await;
    store.entry("tool", &key, make).await
}

/// Fetches these packages of a suite of Debian and unpacks them into a folder.
pub(crate) async fn fetch_packages(suite: &str, packages: &[Package], dir: &Path) -> Result<()> {
    make::packages(suite, packages, dir).await
}

/// A name for people who look into the cache.
fn label(component: &Component) -> String {
    match &component.source {
        Source::Go(build) => build.name().to_owned(),
        Source::Debian { suite, .. } if component.role.is_os() => {
            format!("{}-{suite}", component.role.name())
        }
        Source::Debian {
            packages, version, ..
        } => {
            format!("{}-{}", packages[0], version.as_deref().unwrap_or_default())
        }
        Source::Archive { .. } => format!("archive-{}", component.role.name()),
        Source::Folder { .. } => format!("folder-{}", component.role.name()),
    }
}

#[cfg(test)]
#[cfg(feature = "build")]
mod tests;
