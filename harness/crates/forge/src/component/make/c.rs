//! The parts of a Go build that are written in C: libraries that its programs link, and programs.
//!
//! All are linked statically: the programs run in a node, whose libraries are not this machine's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::tether::tethered;
use crate::{debian, package::Package};
use kubenest_base::{Context, Error, Result, process::Command, store::Store};
use kubenest_recipe::recipe::{CParts, GoBuild};

/// Debian's name of this machine's architecture in paths of libraries.
const TRIPLET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-linux-gnu"
} else {
    "x86_64-linux-gnu"
};

/// The C libraries of a build, unpacked and not installed.
pub(super) struct Libraries {
    folder: PathBuf,
}

impl Libraries {
    /// Unpacks the libraries below `folder`.
    ///
    /// # Errors
    /// This machine has no C compiler, or Debian does not have the libraries.
    pub(super) async fn fetch(store: &Store, parts: &CParts, folder: PathBuf) -> Result<Self> {
        for program in ["gcc", "pkg-config"] {
            has(program).await?;
        }
        fs::create_dir(&folder).with_context(|| format!("make '{}'", folder.display()))?;
        let names = parts.libraries.iter();
        let packages: Vec<_> = names.map(|name| Package::of_suite(name)).collect();
        // A module may bring all its C itself.
        if !packages.is_empty() {
            debian::fetch(store, &parts.debian, &packages, &folder).await?;
        }
        Ok(Self { folder })
    }

    /// Sets a command up to link these libraries and no other.
    pub(super) fn link_into(&self, command: Command) -> Command {
        let lists = self.folder.join("usr/lib").join(TRIPLET).join("pkgconfig");
        command
            .env("CGO_ENABLED", "1")
            .env("CC", "gcc")
            .env("PKG_CONFIG_LIBDIR", lists)
            .env("PKG_CONFIG_SYSROOT_DIR", &self.folder)
    }
}

/// Compiles the module's own programs in C; `module` is a folder with the module's lock.
pub(super) async fn compile(
    build: &GoBuild,
    parts: &CParts,
    module: &Path,
    out: &Path,
) -> Result<()> {
    let found = tethered("go")
        .args(["list", "-mod=readonly", "-m", "-f={{.Dir}}", build.module()])
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .dir(module)
        .run()
        .await?;
    let root = PathBuf::from(found.stdout.trim());
    for (program, folder) in &parts.programs {
        let folder = root.join(folder);
        let sources = sources(&folder)?;
        tethered("gcc")
            .args(["-std=c99", "-Os", "-static", "-s", "-o"])
            .arg(out.join(program))
            .args(sources)
            .run()
            .await
            .with_context(|| format!("compile '{program}' of {}", build.name()))?;
    }
    Ok(())
}

/// The sources in C in a folder, sorted.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read '{}'", folder.display());
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).with_context(what)? {
        let path = entry.with_context(what)?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

async fn has(program: &str) -> Result<()> {
    let asked = Command::new(program).arg("--version").run().await;
    asked.map(drop).map_err(|cause| {
        Error::setup(format!("{program} does not run here"))
            .because(cause)
            .cure(
                "install gcc, libc6-dev and pkg-config, or set KUBENEST_REGISTRY to a registry \
                 that has the node image",
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_without_a_compiler_is_told_what_to_install() {
        let error = has("kubenest-has-no-such-compiler").await.unwrap_err();
        assert!(
            error.cure_text().unwrap().contains("libc6-dev"),
            "{error:?}"
        );
        has("true").await.unwrap();
    }

    #[test]
    fn only_sources_are_compiled() {
        let place = tempfile::tempdir().unwrap();
        for name in ["b.c", "a.c", "a.h", "Makefile"] {
            fs::write(place.path().join(name), "").unwrap();
        }
        let wanted = ["a.c", "b.c"].map(|name| place.path().join(name));
        assert_eq!(sources(place.path()).unwrap(), wanted);
        assert!(sources(&place.path().join("none")).is_err());
    }
}
