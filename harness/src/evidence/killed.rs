//! Evidence of a process that was killed: its guard saves what nodes say, this finishes it.
//!
//! What a living process knows stands in a private folder for as long as its cluster lives. When
//! the process is gone the guard puts there, raw, what it saw of the nodes before it removes
//! them. Whoever comes next makes a bundle of it and removes the folder.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    collect::{Kept, Why, write},
    look::{self, Gathered},
    redact::secrets_in,
    subject::Known,
};
use crate::{
    Context, Result,
    docker::{
        demux,
        labels::{Liveness, Owner},
    },
    file,
    settings::settings,
    wait::{self, Probe},
};

/// What the process knew.
const KNOWN: &str = "known.json";
/// The guard has saved all it will save.
const SAVED: &str = "saved";
/// How long a guard may take to save.
const SAVING: Duration = Duration::from_secs(30);

/// Makes the folder of a cluster, for a guard to save to.
pub(crate) fn prepare(cluster: &str) -> Result<PathBuf> {
    let folder = folder(cluster);
    fs::remove_dir_all(&folder).ok();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(&folder)
        .with_context(|| format!("make '{}'", folder.display()))?;
    Ok(folder)
}

/// Keeps what is known of a cluster, if there is a guard to save to its folder.
pub(super) fn note(known: &Known) {
    let folder = folder(&known.cluster);
    if !folder.is_dir() {
        return;
    }
    let note = || -> Result<()> {
        let namespace = known.case.as_ref().map_or("", |case| &case.namespace);
        let known = serde_json::to_vec(known).context("note what is known")?;
        // The guard may look at any moment.
        file::write(&folder.join("case"), namespace)?;
        file::write(&folder.join(KNOWN), known)
    };
    if let Err(error) = note() {
        tracing::debug!("cluster '{}': {}", known.cluster, error.report());
    }
}

/// Nothing is to be saved any more, or ever.
pub(crate) fn forget(cluster: &str) {
    fs::remove_dir_all(folder(cluster)).ok();
}

/// Makes bundles of what guards saved of processes that are gone.
///
/// # Errors
/// A bundle cannot be written.
pub async fn finish() -> Result<Vec<Kept>> {
    let Ok(entries) = fs::read_dir(home()) else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    for folder in entries.flatten().map(|entry| entry.path()) {
        // Whoever takes it has it: others may be finishing, too.
        if let Some(known) = abandoned(&folder)
            && saved(&folder).await
            && let Some(taken) = take(&folder)
        {
            let done = finish_one(&taken, &known);
            fs::remove_dir_all(&taken).ok();
            kept.push(done?);
        }
    }
    Ok(kept)
}

/// What a process knew that is gone.
fn abandoned(folder: &Path) -> Option<Known> {
    let known: Known = serde_json::from_slice(&fs::read(folder.join(KNOWN)).ok()?).ok()?;
    let owner: Owner = known.owner.parse().ok()?;
    (owner.liveness() == Liveness::Dead).then_some(known)
}

/// Waits for the guard; one that died has saved what there is.
async fn saved(folder: &Path) -> bool {
    let waited = wait::until("the guard to save", SAVING, async || {
        match folder.join(SAVED).exists() {
            true => Probe::Ready(()),
            false => Probe::Pending("it is not done".into()),
        }
    });
    waited.await.is_ok() || folder.is_dir()
}

fn take(folder: &Path) -> Option<PathBuf> {
    let taken = folder.with_extension(format!("taken-{}", std::process::id()));
    fs::rename(folder, &taken).ok()?;
    Some(taken)
}

fn finish_one(folder: &Path, known: &Known) -> Result<Kept> {
    let mut found = Gathered::default();
    for node in &known.nodes {
        match fs::read(folder.join(format!("{node}.raw"))) {
            Ok(raw) if !raw.is_empty() => look::read(node, &demux(&raw), &mut found),
            _ => found.miss(
                "look",
                node,
                "the guard could not look: the node may have been gone",
            ),
        }
        if let Ok(document) = fs::read(folder.join(format!("{node}.json"))) {
            found.add(format!("engine/{node}.json"), document);
        }
    }
    let why = Why {
        reason: "killed",
        message: format!("process {} was killed or ended at once", known.process),
        ..Why::default()
    };
    let secrets = secrets_in(&found.documents());
    write(known, &why, found, &secrets)
}

fn home() -> PathBuf {
    settings().cache.join("killed")
}

fn folder(cluster: &str) -> PathBuf {
    home().join(cluster)
}
