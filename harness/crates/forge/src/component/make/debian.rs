//! Components from Debian packages: the programs of a package, or whole root file systems.

use std::{fs, path::Path};

use super::tether::tethered;
use crate::{debian, package::Package};
use kubenest_base::{Context, Error, Result, process::Command, store::Store};
use kubenest_recipe::recipe::Role;

/// The suite whose mmdebstrap makes the root file systems of every suite.
const MMDEBSTRAP_SUITE: &str = "bookworm";

/// Removes manuals and translations, which take a fifth of an image and which nobody reads in a
/// node, and files that belong to this machine only.
const TRIM: &str = include_str!("trim.sh");

/// Makes the links that update-alternatives would make, since scripts of packages do not run. It
/// takes the nft variant, as Debian does by default.
const LINK_IPTABLES: &str = include_str!("link-iptables.sh");

/// Unpacks packages below `out` and keeps the files that may be programs; `first` is the pinned
/// version and checksum of the first package.
pub(super) async fn unpack(
    store: &Store,
    suite: &str,
    packages: &[String],
    first: (Option<String>, Option<String>),
    out: &Path,
) -> Result<()> {
    let mut wanted: Vec<_> = packages
        .iter()
        .map(|name| Package::of_suite(name))
        .collect();
    if let Some(package) = wanted.first_mut() {
        (package.version, package.sha256) = first;
    }
    debian::fetch(store, suite, &wanted, out).await?;
    for aside in ["etc", "usr/share"] {
        let path = out.join(aside);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("remove '{}'", path.display()))?;
        }
    }
    Ok(())
}

/// Makes the tar of a root file system with mmdebstrap, which is fetched but not installed.
pub(super) async fn bootstrap(
    store: &Store,
    role: Role,
    suite: &str,
    packages: &[String],
    scratch: &Path,
    out: &Path,
) -> Result<()> {
    let tool = scratch.join("mmdebstrap");
    fs::create_dir(&tool).with_context(|| format!("make '{}'", tool.display()))?;
    debian::fetch(
        store,
        MMDEBSTRAP_SUITE,
        &[Package::of_suite("mmdebstrap")],
        &tool,
    )
    .await?;
    let parent = out.parent().expect("a tar must have a folder");
    fs::create_dir_all(parent).with_context(|| format!("make '{}'", parent.display()))?;
    // kube-proxy needs programs and their libraries, but no system around them. mmdebstrap calls no
    // hook after unpacking in this variant.
    let (variant, hook) = match role {
        Role::ProxyOs => ("extract", "extract-hook"),
        _ => ("minbase", "customize-hook"),
    };
    let mut command = isolated_perl()
        .arg(tool.join("usr/bin/mmdebstrap"))
        .arg(format!("--variant={variant}"))
        .arg(format!("--{hook}={TRIM}"));
    if role == Role::ProxyOs {
        command = command.arg(format!("--{hook}={LINK_IPTABLES}"));
    }
    let made = command
        .arg(format!("--include={}", packages.join(",")))
        // A tree that is not finished is thrown away, so no file has to be synced to disk.
        .arg("--dpkgopt=force-unsafe-io")
        .arg("--skip=output/dev")
        .arg(suite)
        .arg(out)
        .arg(debian::mirror().await?)
        .env("TMPDIR", scratch)
        .env("LC_ALL", "C.UTF-8")
        .run()
        .await;
    made.map(drop).map_err(|cause| {
        Error::setup(format!("cannot make a root file system of Debian {suite}"))
            .because(cause)
            .cure("needs root, perl, and an apt that reaches its mirror")
    })
}

/// perl with mounts and processes of its own: mmdebstrap mounts the machine's /dev and /sys below
/// its tree, and a later sweep of an interrupted build must not find these mounts.
fn isolated_perl() -> Command {
    if !nix::unistd::geteuid().is_root() {
        // In this case mmdebstrap makes its own namespaces.
        return tethered("perl");
    }
    tethered("unshare").args(["--mount", "--pid", "--fork", "--kill-child", "--", "perl"])
}
