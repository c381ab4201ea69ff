//! Builds the programs of a Go module, locked by the `go.sum` that comes with kubenest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{c, tether::tethered};
use crate::machine::heavy_builds_at_once;
use kubenest_base::{
    Context, Error, Result,
    file::regular_files,
    lock::{self, FileLock},
    machine::Machine,
    process::Command,
    store::Store,
};
use kubenest_recipe::recipe::GoBuild;

/// What makes Go build programs.
const BUILD: [&str; 1] = ["build"];
/// What makes Go build the tests of a package, as a program.
const BUILD_TEST: [&str; 2] = ["test", "-c"];

/// Builds all programs of `build` into `out`. Those that keep the names of their packages are built
/// with one call, since they share most of the compilation.
pub(super) async fn build(store: &Store, build: &GoBuild, out: &Path) -> Result<()> {
    let _turn = turn_to_build(store).await?;
    // The module is beside the programs, under a name that no program has.
    let module = out.join("module.src");
    fs::create_dir(&module).with_context(|| format!("make '{}'", module.display()))?;
    for (name, content) in build.files() {
        let file = module.join(name);
        fs::write(&file, content).with_context(|| format!("write '{}'", file.display()))?;
    }
    let libraries = match build.c() {
        Some(parts) => Some(c::Libraries::fetch(store, parts, out.join("libraries.c")).await?),
        None => None,
    };
    let compile = async |verb: &[&str], to: &Path, packages: &[String]| {
        let command = compiler(build, verb, &module, to).args(packages);
        let command = match &libraries {
            Some(libraries) => libraries.link_into(command),
            None => command,
        };
        command.run().await.map_err(|cause| {
            Error::setup(format!("cannot build {} with Go", build.name()))
                .because(cause)
                .cure(
                    "needs `go` 1.26 or newer in PATH and a module proxy it can reach; \
                     or set KUBENEST_NODE to a ready node image, name@sha256:…",
                )
        })
    };
    let packages = build.packages();
    if !packages.is_empty() {
        // With a slash at its end Go takes it for a folder.
        compile(&BUILD, &out.join(""), &packages).await?;
    }
    for (name, package) in build.tests() {
        compile(&BUILD_TEST, &out.join(name), &[package]).await?;
    }
    for (name, package) in build.named() {
        compile(&BUILD, &out.join(name), std::slice::from_ref(&package)).await?;
        if let Some(folder) = build.beside() {
            let kept = out.join(format!("{name}.{folder}"));
            keep_beside(&module, &package, folder, &kept).await?;
        }
    }
    match build.c() {
        Some(parts) => c::compile(build, parts, &module, out).await,
        None => Ok(()),
    }
}

/// The command, one of [`BUILD`] and [`BUILD_TEST`], that builds packages of a module into a file
/// or a folder.
fn compiler(build: &GoBuild, verb: &[&str], module: &Path, to: &Path) -> Command {
    tethered("go")
        .args(verb)
        .args(["-mod=readonly", "-buildvcs=false", "-trimpath"])
        .arg(format!("-tags={}", build.tags()))
        .args(["-ldflags", &build.ldflags(), "-o"])
        .arg(to)
        // A node runs Linux and has few C libraries, whatever this machine has.
        .env("CGO_ENABLED", "0")
        .env("GOOS", "linux")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .dir(module)
}

/// Copies a folder beside the source of a package.
async fn keep_beside(module: &Path, package: &str, folder: &str, to: &Path) -> Result<()> {
    let found = tethered("go")
        .args(["list", "-mod=readonly", "-f={{.Dir}}", package])
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .dir(module)
        .run()
        .await?;
    let from = PathBuf::from(found.stdout.trim()).join(folder);
    for file in regular_files(&from)? {
        let below = file.strip_prefix(&from).expect("must be below its folder");
        let copy = to.join(below);
        let what = || format!("copy '{}'", file.display());
        let parent = copy.parent().expect("a file must have a folder");
        fs::create_dir_all(parent).with_context(what)?;
        let content = fs::read(&file).with_context(what)?;
        fs::write(&copy, content).with_context(what)?;
    }
    Ok(())
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
