//! Components of a node, from their sources into the cache.

mod archive;
mod debian;
pub(crate) mod go;
mod layout;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    Error, Result,
    recipe::{Component, Source, sha256_hex},
    store::Store,
};

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
    let entry = store
        .entry("component", &key, async |dir| {
            tracing::info!(target: "kubenest::progress", "{label}: {}", intent(source));
            let started = Instant::now();
            make(component, dir).await?;
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!(target: "kubenest::progress", "{label}: done in {seconds:.1} s");
            Ok(())
        })
        .await?;
    let dir = entry.join(role.name());
    layout::check(&dir, *role).map_err(|missing| {
        Error::input(format!("{label} does not hold {}", role.name())).because(missing)
    })?;
    let hash = sha256_hex(format!("{} {hash}", role.name()).as_bytes());
    Ok(Built {
        files: dir.join(layout::NODE),
        hash,
        dir,
    })
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

fn intent(source: &Source) -> String {
    match source {
        Source::Go(_) => "building with Go; takes minutes the first time".to_owned(),
        Source::Debian { suite, .. } => format!("fetching packages of Debian {suite}"),
        Source::Archive { url, .. } => format!("fetching {url}"),
        Source::Folder { path, .. } => format!("taking from {}", path.display()),
    }
}

async fn make(component: &Component, dir: &Path) -> Result<()> {
    let Component { role, source, .. } = component;
    // Below the entry, so that a build cut short is swept away with it.
    let scratch = tempfile::tempdir_in(dir).map_err(|cause| {
        Error::setup(format!("cannot write '{}'", dir.display())).because(cause)
    })?;
    let tree = scratch.path();
    match source {
        Source::Go(build) => {
            go::build(build, tree).await?;
            layout::place(tree, dir)
        }
        Source::Archive { url, sha256 } => {
            let file = tree.join("download");
            archive::fetch(url, sha256, &file).await?;
            if role.is_os() {
                return archive::rootfs(&file, &dir.join(role.name()).join(layout::ROOTFS));
            }
            let unpacked = tree.join("unpacked");
            archive::unpack(&file, *role, &unpacked)?;
            layout::place(&unpacked, dir)
        }
        Source::Folder { path, .. } => layout::place(path, dir),
        Source::Debian {
            suite, packages, ..
        } if role.is_os() => {
            let out = dir.join(role.name()).join(layout::ROOTFS);
            debian::bootstrap(*role, suite, packages, tree, &out).await
        }
        Source::Debian {
            suite,
            packages,
            version,
            sha256,
        } => {
            let first = (version.clone(), sha256.clone());
            debian::unpack(suite, packages, first, tree).await?;
            layout::place(tree, dir)
        }
    }
}
