//! Makes what the cache lacks: builds it, fetches it, or copies it from a folder.

mod archive;
mod c;
mod debian;
mod folder;
mod go;
mod place;
mod tether;

use std::{
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};

use kubenest_base::{Error, Result, progress, store::Store};
use kubenest_recipe::recipe::{Component, GoBuild, Source};

use super::layout;
use crate::package::Package;

/// How often a long step logs that it is still at work.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Makes a component in the folder of its cache entry.
pub(super) async fn component(
    store: &Store,
    label: &str,
    component: &Component,
    dir: &Path,
) -> Result<()> {
    progress!("{label}: {}", intent(&component.source));
    let started = Instant::now();
    log_while_running(label, write(store, component, dir)).await?;
    progress!("{label}: done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the programs of a Go module into a folder.
pub(super) async fn programs(store: &Store, build: &GoBuild, dir: &Path) -> Result<()> {
    let name = build.name();
    progress!("{name}: building with Go; takes minutes the first time");
    log_while_running(name, go::build(store, build, dir)).await
}

/// Fetches these packages of a suite of Debian and unpacks them into a folder.
pub(super) async fn packages(
    store: &Store,
    suite: &str,
    packages: &[Package],
    dir: &Path,
) -> Result<()> {
    crate::debian::fetch(store, suite, packages, dir).await
}

/// Runs a long step and logs regularly that it is still at work.
async fn log_while_running(label: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    let started = tokio::time::Instant::now();
    let mut signs = tokio::time::interval_at(started + SIGN_OF_LIFE, SIGN_OF_LIFE);
    let mut work = pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = signs.tick() => {
                let seconds = started.elapsed().as_secs();
                progress!("{label}: at work for {seconds} s");
            }
        }
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

async fn write(store: &Store, component: &Component, dir: &Path) -> Result<()> {
    let Component { role, source, .. } = component;
    // The folder is inside the entry, so that the sweep of an interrupted build removes it too.
    let scratch = tempfile::tempdir_in(dir).map_err(|cause| {
        Error::setup(format!("cannot write '{}'", dir.display())).because(cause)
    })?;
    let tree = scratch.path();
    match source {
        Source::Go(build) => {
            go::build(store, build, tree).await?;
            place::programs(tree, dir)
        }
        Source::Archive { url, sha256 } => {
            let file = tree.join("download");
            archive::fetch(url, sha256, &file).await?;
            if role.is_os() {
                return archive::rootfs(&file, &dir.join(role.name()).join(layout::ROOTFS));
            }
            let unpacked = tree.join("unpacked");
            archive::unpack(&file, *role, &unpacked)?;
            place::programs(&unpacked, dir)
        }
        Source::Folder { path, sha256 } => {
            let copy = tree.join("copy");
            folder::take(path, sha256, &copy)?;
            place::programs(&copy, dir)
        }
        Source::Debian {
            suite, packages, ..
        } if role.is_os() => {
            let out = dir.join(role.name()).join(layout::ROOTFS);
            debian::bootstrap(store, *role, suite, packages, tree, &out).await
        }
        Source::Debian {
            suite,
            packages,
            version,
            sha256,
        } => {
            let first = (version.clone(), sha256.clone());
            debian::unpack(store, suite, packages, first, tree).await?;
            place::programs(tree, dir)
        }
    }
}
