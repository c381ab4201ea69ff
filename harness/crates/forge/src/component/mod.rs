//! Components of a node, from their sources into the cache.

mod layout;
#[cfg(feature = "build")]
mod make;
#[cfg(not(feature = "build"))]
#[path = "unprepared.rs"]
mod make;

use std::path::{Path, PathBuf};

use crate::{
    durations::timed,
    making::{self, unprepared_in},
    names,
    package::Package,
};
use kubenest_base::digest::sha256_hex;
use kubenest_base::{Error, Result, store::Store};
use kubenest_recipe::recipe::{Component, GoBuild, Source};

/// A part of every key; raised when the same component is laid out in another way.
const FORMAT: &str = "kubenest component 1";
/// The kind of cache entries that hold components.
const KIND: &str = "component";
/// The kind of cache entries that hold programs for tests.
const TOOL: &str = "tool";

/// A component's files in the cache. They belong to the cache, so only read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Files for the node, laid out as below the node's root. The folder does not exist when there
    /// are none, as for etcd.
    pub files: PathBuf,
    /// The hash of what the files are made from, for keys of image layers: two builds with one hash
    /// are interchangeable.
    pub hash: String,
    dir: PathBuf,
}

impl Built {
    /// Files for the container image with this name (`kube-apiserver`, `etcd`, …), laid out as
    /// below the image's root.
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

/// Returns a component's files from the store, or makes them now; other processes that want the
/// same component wait for that.
///
/// # Errors
/// Input when the source does not hold the component; set-up when the component cannot be fetched
/// or built; refused when it differs from what is pinned.
pub async fn provide(store: &Store, component: &Component) -> Result<Built> {
    making::note(&names::component(component));
    part(store, component).await
}

/// Whether the cache has a component.
pub(crate) fn is_made(store: &Store, component: &Component) -> Result<bool> {
    let (key, _) = key_and_hash(component);
    Ok(store.get(KIND, &key)?.is_some())
}

/// Whether the cache has the programs of a Go module.
pub(crate) fn has_programs(store: &Store, build: &GoBuild) -> Result<bool> {
    Ok(store.get(TOOL, &programs_key(build))?.is_some())
}

/// As [`provide`], for a component that is part of something else that was asked for.
pub(crate) async fn part(store: &Store, component: &Component) -> Result<Built> {
    let role = component.role;
    let (key, hash) = key_and_hash(component);
    let label = names::label(component);
    let lacking =
        |missing| Error::input(format!("{label} does not hold {}", role.name())).because(missing);
    let entry = match store.get(KIND, &key)? {
        Some(entry) => entry,
        None => {
            let name = names::component(component);
            let entry = store.entry(KIND, &key, async |dir| {
                timed(
                    store.root(),
                    &name,
                    make::component(store, &label, component, dir),
                )
                .await?;
                // All roles are checked before the entry is kept, since a later call may ask for
                // another role.
                layout::check(&dir.join(role.name()), role).map_err(lacking)
            });
            unprepared_in(store, &name, entry).await?
        }
    };
    let dir = entry.join(role.name());
    layout::check(&dir, role).map_err(lacking)?;
    let hash = sha256_hex(format!("{} {hash}", role.name()).as_bytes());
    Ok(Built {
        files: dir.join(layout::NODE),
        hash,
        dir,
    })
}

/// The name of a component's entry in the cache, and the hash of what the component is made from.
pub(crate) fn key_and_hash(component: &Component) -> (String, String) {
    // One source is made once for all its roles: a daemon and its shim come from one build.
    let kind = if component.role.is_os() {
        component.role.name()
    } else {
        "programs"
    };
    let (arch, source) = (std::env::consts::ARCH, component.source.hash());
    let hash = sha256_hex(format!("{FORMAT}\n{arch}\n{kind}\n{source}").as_bytes());
    let key = format!("{}-{}", names::label(component), &hash[..16]);
    (key, hash)
}

/// The folder with the programs of a Go module; builds them if they are not in the cache.
///
/// # Errors
/// The programs are not in the cache and cannot be built.
pub async fn programs(store: &Store, build: &GoBuild) -> Result<PathBuf> {
    making::note(&names::build(build));
    programs_of_part(store, build).await
}

/// As [`programs`], for programs that are part of something else that was asked for.
pub(crate) async fn programs_of_part(store: &Store, build: &GoBuild) -> Result<PathBuf> {
    let name = names::build(build);
    let key = programs_key(build);
    if let Some(entry) = store.get(TOOL, &key)? {
        return Ok(entry);
    }
    let make =
        async |dir: &Path| timed(store.root(), &name, make::programs(store, build, dir)).await;
    unprepared_in(store, &name, store.entry(TOOL, &key, make)).await
}

/// The key includes tags and stamps, since they make different programs of the same release.
fn programs_key(build: &GoBuild) -> String {
    format!("{}-{}", build.name(), &Source::Go(*build).hash()[..16])
}

/// Fetches these packages of a suite of Debian and unpacks them into a folder.
pub(crate) async fn fetch_packages(
    store: &Store,
    suite: &str,
    packages: &[Package],
    dir: &Path,
) -> Result<()> {
    make::packages(store, suite, packages, dir).await
}

#[cfg(test)]
#[cfg(feature = "build")]
mod tests;
