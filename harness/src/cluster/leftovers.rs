//! Folders of clusters that are gone: in each is a kubeconfig with an administrator's key.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::made;
use crate::{
    Context, Result,
    docker::{
        Docker,
        labels::{BOOT, BootId, Liveness, Owner},
    },
    file,
    settings::settings,
};

/// Name of the file that says whose a folder is.
const NOTE: &str = "owner.json";

/// How long an owner that cannot be seen may take from its folder to its first container.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose a cluster's folder is.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    owner: String,
    /// As in the labels of its containers.
    boot: String,
    /// The engine that those are in.
    engine: String,
}

/// Makes a cluster's folder.
pub(super) fn make_folder(docker: &Docker, name: &str, boot: &BootId) -> Result<()> {
    let folder = made::folder(name);
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(&folder);
    made.with_context(|| format!("make '{}'", folder.display()))?;
    let note = Note {
        owner: Owner::current().to_string(),
        boot: boot.as_str().to_owned(),
        engine: docker.endpoint().to_string(),
    };
    let note = serde_json::to_vec(&note).context("note whose a cluster is")?;
    file::write(&folder.join(NOTE), note)
}

/// Removes the folders of clusters that were in one of these engines, are there no more, and whose
/// process is gone. Returns what it removed.
///
/// # Errors
/// An engine does not answer, or a folder cannot be removed.
pub async fn prune_folders(engines: &[Docker]) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    let folders = fs::read_dir(settings().cache.join("clusters"));
    let folders = folders.into_iter().flatten().flatten();
    let folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    for docker in engines {
        let engine = docker.endpoint().to_string();
        let labels = docker.labelled(BOOT).await?.into_iter();
        let there: HashSet<String> = labels.filter_map(|mut found| found.remove(BOOT)).collect();
        for folder in &folders {
            let Some(note) = read(folder).filter(|note| note.engine == engine) else {
                continue;
            };
            let owner = note.owner.parse().map(|owner: Owner| owner.liveness());
            let owner = owner.unwrap_or(Liveness::Unknown);
            if !there.contains(&note.boot) && is_left(owner, age(folder)) {
                let gone = fs::remove_dir_all(folder);
                gone.with_context(|| format!("remove '{}'", folder.display()))?;
                removed.push(folder.clone());
            }
        }
    }
    Ok(removed)
}

fn read(folder: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(folder.join(NOTE)).ok()?).ok()
}

fn age(folder: &Path) -> Duration {
    let made = fs::symlink_metadata(folder.join(NOTE)).and_then(|found| found.modified());
    let age = made.ok().and_then(|made| made.elapsed().ok());
    age.unwrap_or_default()
}

/// Whether a folder has no more use, when its cluster has no containers.
fn is_left(owner: Liveness, age: Duration) -> bool {
    match owner {
        Liveness::Alive => false,
        Liveness::Dead => true,
        Liveness::Unknown => age > AGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_left_when_nobody_can_need_it() {
        let (young, old) = (Duration::ZERO, 2 * AGE);
        assert!(is_left(Liveness::Dead, young));
        assert!(!is_left(Liveness::Alive, old));
        assert!(!is_left(Liveness::Unknown, young));
        assert!(is_left(Liveness::Unknown, old));
    }
}
