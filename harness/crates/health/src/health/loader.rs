//! The look at the loader: is an image there that was imported as `kind load` imports one?
//!
//! A version of the configuration that the loader reads is not enough: the import itself can
//! fail behind it. So the smallest image there is goes the whole way, and is removed again.

use std::time::Duration;

use super::{
    collect::in_one_line,
    facts::{Seen, seen, snapshotter_of},
    unused_name,
};
use kubenest_base::{
    Result,
    wait::{self, Probe},
};
use kubenest_forge::image;
use kubenest_node::node::{Node, cri::Cri};

/// How long an import may take on a machine that starts a control plane beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the runtime may take to list what was imported.
const LISTED: Duration = Duration::from_secs(20);

/// What `containerd config dump` says, by which loaders go.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dump {
    /// Version of the configuration that the daemon writes.
    pub(super) version: u32,
    /// The snapshotter it names, which is not always the one in effect.
    pub(super) snapshotter: Option<String>,
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Import {
    /// The snapshotter it was to be unpacked for.
    pub(super) snapshotter: String,
    /// The words against it, if it failed.
    pub(super) ended: Result<(), String>,
}

impl Dump {
    pub(super) fn parse(text: &str) -> Seen<Self> {
        let what = "`containerd config dump`";
        let dump: toml::Table = text.parse().map_err(|error| format!("{what}: {error}"))?;
        let version = dump.get("version").and_then(toml::Value::as_integer);
        let version = version.and_then(|version| u32::try_from(version).ok());
        let version = version.ok_or_else(|| format!("{what} has no version"))?;
        let path: &[&str] = match version {
            ..=2 => &["io.containerd.grpc.v1.cri", "containerd", "snapshotter"],
            _ => &["io.containerd.cri.v1.images", "snapshotter"],
        };
        let plugins = dump.get("plugins");
        let named = path.iter().fold(plugins, |at, key| at?.get(*key));
        let snapshotter = named.and_then(toml::Value::as_str).map(str::to_owned);
        Ok(Self {
            version,
            snapshotter,
        })
    }
}

/// The snapshotter that loaders unpack for: the one that the dump names.
pub(super) fn loaded_for(dump: &Seen<Dump>, image_folders: &Seen<Vec<String>>) -> Seen<String> {
    match &seen(dump)?.snapshotter {
        Some(named) => Ok(named.clone()),
        None => snapshotter_of(image_folders).map(str::to_owned),
    }
}

/// Imports an image for a snapshotter, looks for it over CRI, and removes it.
pub(super) async fn import(node: &Node, snapshotter: &Seen<String>) -> Seen<Import> {
    let snapshotter = seen(snapshotter)?;
    let tried = async {
        let name = unused_name("kubenest.local/loader:");
        let archive = image::tiny_archive(&name).await?;
        let cri = node.cri().await?;
        let attempt = attempt(node, &cri, snapshotter, &name, archive);
        let ended = wait::within("an import", PATIENCE, attempt).await;
        // Also after a failure: it can leave the name of an image that is not whole.
        cri.remove_image(&name).await?;
        ended
    };
    Ok(Import {
        snapshotter: snapshotter.clone(),
        ended: tried.await.map_err(in_one_line)?,
    })
}

async fn attempt(
    node: &Node,
    cri: &Cri,
    snapshotter: &str,
    name: &str,
    archive: Vec<u8>,
) -> Result<Result<(), String>> {
    // Exactly kind's command, of every release in the compatibility table.
    let snapshotter = format!("--snapshotter={snapshotter}");
    let argv = [
        "ctr",
        "--namespace=k8s.io",
        "images",
        "import",
        "--all-platforms",
        "--digests",
        &snapshotter,
        "-",
    ];
    let import = node
        .docker()
        .exec(node.name(), &argv, Some(archive))
        .await?;
    if import.status != 0 {
        let words = import.stderr.trim().lines().last().unwrap_or_default();
        return Ok(Err(words.to_owned()));
    }
    // containerd 1.x tells its CRI part of an image a moment later.
    let listed = wait::until("the imported image", LISTED, async || {
        match cri.image(name).await {
            Ok(Some(_)) => Probe::Ready(()),
            Ok(None) => Probe::Pending("the runtime does not list it".into()),
            Err(error) => Probe::Failed(error),
        }
    });
    Ok(listed.await.map_err(|error| error.report()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_of_a_dump_names_the_snapshotter_elsewhere() {
        let two = "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\n\
                   snapshotter = 'a'\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'b'";
        let named = |text: &str| Dump::parse(text).expect("must parse").snapshotter;
        assert_eq!(named(two).as_deref(), Some("a"));
        let four = two.replace("version = 2", "version = 4");
        assert_eq!(named(&four).as_deref(), Some("b"));
        assert_eq!(named("version = 3\n[plugins]"), None);
    }
}
