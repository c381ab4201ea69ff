//! The look at the loader: is an image there that was imported as `kind load` imports one?
//!
//! A version of the configuration that the loader reads is not enough: the import itself can
//! fail behind it. So the smallest image there is goes the whole way, and is removed again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::facts::{Seen, seen};
use crate::{
    Error, Result, image,
    node::{Node, containerd::Containerd, cri::Cri},
    wait::{self, Probe},
};

/// How long the runtime may take to list what was imported.
const LISTED: Duration = Duration::from_secs(5);

/// What came of an import.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Import {
    /// The snapshotter it was to be unpacked for.
    pub(super) snapshotter: String,
    /// The words against it, if it failed.
    pub(super) ended: Result<(), String>,
}

/// Imports an image for a snapshotter, looks for it over CRI, and removes it.
pub(super) async fn import(node: &Node, snapshotter: &Seen<String>) -> Result<Import> {
    let snapshotter = seen(snapshotter).map_err(Error::setup)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let name = format!(
        "kubenest.local/loader:{}",
        now.unwrap_or_default().as_nanos()
    );
    let archive = image::tiny_archive(&name).await?;
    let cri = Containerd::connect(node).await?.cri();
    let ended = attempt(node, &cri, snapshotter, &name, archive).await;
    // Also after a failure: it can leave the name of an image that is not whole.
    cri.remove_image(&name).await?;
    Ok(Import {
        snapshotter: snapshotter.clone(),
        ended: ended?,
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
