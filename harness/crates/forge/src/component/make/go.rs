//! Builds the programs of a Go module, locked by the `go.sum` that comes with kubenest.

use std::{fs, path::Path};

use super::{c, tether::tethered};
use crate::machine::heavy_builds_at_once;
use kubenest_base::{
    Context, Error, Result,
    lock::{self, FileLock},
    machine::Machine,
    store::Store,
};
use kubenest_recipe::recipe::GoBuild;

/// Builds all programs of `build` into `out` with one call, since they share most of the
/// compilation.
pub(super) async fn build(store: &Store, build: &GoBuild, out: &Path) -> Result<()> {
    let _turn = turn_to_build(store).await?;
    // The module is beside the programs, under a name that no program has.
    let module = out.join("module.src");
    fs::create_dir(&module).with_context(|| format!("make '{}'", module.display()))?;
    for (name, content) in build.files() {
        let file = module.join(name);
        fs::write(&file, content).with_context(|| format!("write '{}'", file.display()))?;
    }
    let command = tethered("go")
        .args(["build", "-mod=readonly", "-buildvcs=false", "-trimpath"])
        .arg(format!("-tags={}", build.tags()))
        .args(["-ldflags", &build.ldflags(), "-o"])
        .arg(format!("{}/", out.display()))
        .args(build.packages())
        // A node runs Linux and has few C libraries, whatever this machine has.
        .env("CGO_ENABLED", "0")
        .env("GOOS", "linux")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .dir(&module);
    let command = match build.c() {
        Some(parts) => c::Libraries::fetch(store, parts, out.join("libraries.c"))
            .await?
            .link_into(command),
        None => command,
    };
    let built = command.run().await;
    built.map_err(|cause| {
        Error::setup(format!("cannot build {} with Go", build.name()))
            .because(cause)
            .cure(
                "needs `go` 1.26 or newer in PATH and a module proxy it can reach; \
             or set KUBENEST_NODE to a ready node image, name@sha256:…",
            )
    })?;
    match build.c() {
        Some(parts) => c::compile(build, parts, &module, out).await,
        None => Ok(()),
    }
}

/// Waits for the turn of a Go build, among all processes that build for this cache: this machine
/// could not run the builds of all tests that need something unprepared at once.
async fn turn_to_build(store: &Store) -> Result<FileLock> {
    let locks = store.root().join("locks");
    let places =
        (0..heavy_builds_at_once(Machine::this())).map(|at| locks.join(format!("build-{at}.lock")));
    let places: Vec<_> = places.collect();
    FileLock::any(&places, "a build with Go", lock::LONGEST).await
}
