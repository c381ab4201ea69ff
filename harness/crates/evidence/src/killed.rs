//! Evidence of a process that was killed: its guard saves what the nodes say, and this module makes
//! a bundle of it.
//!
//! When a process is gone, its guard writes the raw output of the nodes into the process's
//! [notebook](super::notebook) before it removes the nodes. The next process makes a bundle of the
//! notebook and removes it.
//!
//! The cluster of a lease outlives a holder that was killed, and so does what the holder's test made
//! in it, until somebody else takes hold of the cluster; before that [`finish_holders`] asks the
//! nodes for what they say of that test.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;

use super::{
    Bundle,
    collect::{PATIENCE, gather},
    look,
    notebook::{home, read_notes, read_notes_without_steps},
    notes::{About, Held, Notes},
    occasion::Occasion,
    part::{Kind, Parts},
    redact::secrets_in,
    writer::write_whole,
};
use kubenest_base::liveness::Process;
use kubenest_base::{
    Error, Result,
    settings::Settings,
    wait::{self, Probe},
};
use kubenest_docker::{
    Docker, Liveness, Owner, demux,
    discover::{Endpoint, Origin},
    labels::BOOT,
};

/// The file that says that the guard has finished saving.
const SAVED: &str = "saved";
/// Suffix of a folder that a process is making a bundle of; its process number follows.
const TAKEN: &str = "taken-";
/// How long a guard, or another process that asks nodes, may take to save.
const SAVING: Duration = Duration::from_secs(30);

/// Whose notebooks are finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose<'a> {
    /// All dead processes'.
    All,
    /// Those of processes that held a lease of the cluster of this name.
    HoldersOf(&'a str),
}

impl Whose<'_> {
    fn includes(self, notes: &Notes) -> bool {
        match self {
            Self::All => true,
            Self::HoldersOf(cluster) => {
                notes.cluster.held.is_some() && notes.cluster.name == cluster
            }
        }
    }
}

/// Makes bundles of the notebooks of dead processes in the settings' cache. When a bundle cannot be
/// written, the others are still made, and the notebook stays. The first error is returned beside
/// the bundles.
pub async fn finish(settings: &Arc<Settings>) -> (Vec<Bundle>, Result<()>) {
    finish_in(&home(settings), settings, Whose::All).await
}

/// As [`finish`], only for processes that held a lease of this cluster. What they have left in it may
/// be removed afterwards.
pub async fn finish_holders(settings: &Arc<Settings>, cluster: &str) -> (Vec<Bundle>, Result<()>) {
    finish_in(&home(settings), settings, Whose::HoldersOf(cluster)).await
}

async fn finish_in(
    home: &Path,
    settings: &Arc<Settings>,
    whose: Whose<'_>,
) -> (Vec<Bundle>, Result<()>) {
    let (mut kept, mut ended) = (Vec::new(), Ok(()));
    let mut tried = BTreeSet::new();
    loop {
        // While this function waited for guards, other guards may have begun to save. Their nodes
        // must not be swept before that is finished.
        let new: Vec<PathBuf> = folders(home)
            .filter(|folder| !tried.contains(folder))
            .collect();
        let done = finish_these(&new, settings, whose).await;
        tried.extend(new);
        if done.is_empty() {
            return (kept, ended);
        }
        for done in done {
            match done {
                Ok(bundles) => kept.extend(bundles),
                Err(error) => ended = ended.and(Err(error)),
            }
        }
    }
}

async fn finish_these(
    folders: &[PathBuf],
    settings: &Arc<Settings>,
    whose: Whose<'_>,
) -> Vec<Result<Vec<Bundle>>> {
    let finished = folders.iter().map(async |folder| {
        let notes = read_notes_without_steps(folder)?;
        if !whose.includes(&notes) || liveness_of_owner(&notes) != Some(Liveness::Dead) {
            return None;
        }
        let is_held = notes.cluster.held.is_some();
        if is_being_finished(folder) {
            wait_for_other(folder, is_held).await;
            return None;
        }
        if !is_held && !wait_for_guard(folder).await {
            return None;
        }
        // Another process may finish the same notebook. The rename succeeds for only one of them.
        let Some(taken) = take(folder) else {
            wait_for_other(folder, is_held).await;
            return None;
        };
        let done = match read_notes(&taken) {
            Some(notes) => finish_one(&taken, &notes, settings).await,
            None => return None,
        };
        if let Err(error) = done {
            return Some(Err(give_back(&taken, error)));
        }
        fs::remove_dir_all(&taken).ok();
        Some(done)
    });
    join_all(finished).await.into_iter().flatten().collect()
}

/// Waits until the other process that finishes this notebook, of a holder, has asked the nodes.
async fn wait_for_other(folder: &Path, is_held: bool) {
    let (Some(home), Some(name), true) = (folder.parent(), folder.file_stem(), is_held) else {
        return;
    };
    let is_taken = |other: &PathBuf| other.file_stem() == Some(name) && is_being_finished(other);
    let waited = wait::until(
        "another process to ask the nodes",
        SAVING,
        async || match folders(home).any(|other| is_taken(&other)) {
            true => Probe::Pending("it is not done".into()),
            false => Probe::Ready(()),
        },
    );
    waited.await.ok();
}

/// Returns a notebook to its place, so that a later process can make a bundle of it: there is no
/// other evidence of the killed process.
fn give_back(taken: &Path, error: Error) -> Error {
    let folder = taken.with_extension("");
    let stays = match fs::rename(taken, &folder) {
        Ok(()) => folder,
        Err(_) => taken.to_owned(),
    };
    let stays = stays.display();
    let error = Error::setup(format!("no bundle is made of '{stays}', which stays")).because(error);
    let cure = error.cure_text();
    let cure = cure.unwrap_or("make room, or name another folder by KUBENEST_EVIDENCE");
    let cure = format!("{cure}, then `kubenest logs --killed`; or remove '{stays}'");
    error.cure(cure)
}

/// Removes notebooks that are older than `age`, such as those from before this machine's last boot.
/// Returns the removed folders.
pub(super) fn prune(settings: &Settings, age: Duration) -> Vec<PathBuf> {
    let lives = |folder: &PathBuf| {
        let notes = read_notes_without_steps(folder);
        notes.and_then(|notes| liveness_of_owner(&notes)) == Some(Liveness::Alive)
    };
    let old = |folder: &PathBuf| {
        let made = fs::symlink_metadata(folder).and_then(|found| found.modified());
        made.is_ok_and(|made| made.elapsed().is_ok_and(|since| since > age))
            && !lives(folder)
            && fs::remove_dir_all(folder).is_ok()
    };
    folders(&home(settings)).filter(old).collect()
}

fn folders(home: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Whether the owner of the cluster lives; `None` where the notes name none.
fn liveness_of_owner(notes: &Notes) -> Option<Liveness> {
    let owner: Owner = notes.cluster.owner.parse().ok()?;
    Some(owner.liveness())
}

/// Waits until the guard has finished, or for so long that it must have died. Returns whether
/// anything was saved.
async fn wait_for_guard(folder: &Path) -> bool {
    let waited = wait::until("the guard to save", SAVING, async || {
        match folder.join(SAVED).exists() {
            true => Probe::Ready(()),
            false => Probe::Pending("it is not done".into()),
        }
    });
    waited.await.is_ok() || folder.is_dir()
}

fn take(folder: &Path) -> Option<PathBuf> {
    let taken = folder.with_extension(format!("{TAKEN}{}", std::process::id()));
    fs::rename(folder, &taken).ok()?;
    Some(taken)
}

/// Whether a living process is making a bundle of this folder.
fn is_being_finished(folder: &Path) -> bool {
    let by = folder
        .extension()
        .and_then(|name| name.to_str()?.strip_prefix(TAKEN));
    let by = by.and_then(|by| by.parse().ok());
    by.is_some_and(|by| Process::of(by) != Process::Gone)
}

/// Makes a bundle of each case that ran, or of the cluster where none did; all bundles or none. A
/// cluster that outlives its holder is the subject of none.
async fn finish_one(folder: &Path, notes: &Notes, settings: &Arc<Settings>) -> Result<Vec<Bundle>> {
    let held = notes.cluster.held.as_ref();
    let abouts: Vec<About> = match notes.cases.is_empty() {
        true if held.is_some() => Vec::new(),
        true => vec![notes.about_all()],
        false => notes
            .cases
            .keys()
            .map(|case| notes.about_case(case))
            .collect(),
    };
    let mut kept: Vec<Bundle> = Vec::new();
    for about in abouts {
        let found = match held {
            Some(held) => ask_nodes(settings, held, &about).await,
            None => read_saved(folder, &about),
        };
        match finish_about(notes, &about, found) {
            Ok(bundle) => kept.push(bundle),
            Err(error) => {
                // The notebook stays, and the next attempt makes all bundles anew.
                for bundle in kept {
                    fs::remove_dir_all(bundle.folder).ok();
                }
                return Err(error);
            }
        }
    }
    Ok(kept)
}

/// What the nodes of a cluster that outlives its holder say of a case.
async fn ask_nodes(settings: &Arc<Settings>, held: &Held, about: &About) -> Parts {
    let nodes = &about.cluster.nodes;
    let asked = async {
        let docker = Docker::at(&Endpoint::unix(&held.socket, Origin::Socket), settings).await?;
        for node in nodes {
            let found = docker.container(node).await?;
            let boot = found.and_then(|found| found.labels.get(BOOT).cloned());
            if boot.as_deref() != Some(held.boot.as_str()) {
                return Err(Error::not_found("the cluster is gone"));
            }
        }
        Ok(gather(&docker, about, PATIENCE).await)
    };
    match asked.await {
        Ok(found) => found,
        Err(error) => {
            let mut found = Parts::default();
            for node in nodes {
                found.miss("look", node, &error.report());
            }
            found
        }
    }
}

/// What the guard saved of the nodes.
fn read_saved(folder: &Path, about: &About) -> Parts {
    let mut found = Parts::default();
    for node in &about.cluster.nodes {
        match fs::read(folder.join(format!("{node}.raw"))) {
            Ok(raw) if !raw.is_empty() => look::read_output(node, &demux(&raw), &mut found),
            _ => found.miss(
                "look",
                node,
                "the guard could not look: the node may have been gone",
            ),
        }
        if let Ok(document) = fs::read(folder.join(format!("{node}.json"))) {
            found.add(Kind::Container.of(node), document);
        }
    }
    found
}

fn finish_about(notes: &Notes, about: &About, mut found: Parts) -> Result<Bundle> {
    let why = Occasion {
        reason: "killed",
        message: format!(
            "process {} was killed or ended at once",
            about.cluster.process
        ),
        ..Occasion::default()
    };
    let secrets = secrets_in(&found.documents());
    let is_of_others = |namespace: &String| {
        let mut own = about.cases.iter();
        notes.cases.contains_key(namespace) && !own.any(|case| case.namespace == *namespace)
    };
    found.found.retain(|part| match &part.id.kind {
        Kind::Namespace(namespace) => !is_of_others(namespace),
        _ => true,
    });
    write_whole(about, &why, found, &secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        notebook::{CASES, write_notes},
        notes::CaseNotes,
    };

    /// Writes a notebook as a guard leaves it for a process that is gone.
    fn saved_in(folder: &Path, mut notes: Notes, line: &str) {
        fs::create_dir_all(folder).unwrap();
        let own = Owner::current().to_string();
        // Process 1 has another start time, so no such process lives.
        notes.cluster.owner = format!("{}/1-1", own.rsplit_once('/').unwrap().0);
        notes.cluster.nodes = vec!["n".into()];
        write_notes(folder, &notes).unwrap();
        let mut raw = b"\x01\0\0\0\0\0\0".to_vec();
        raw.push(u8::try_from(line.len()).unwrap());
        raw.extend(line.as_bytes());
        fs::write(folder.join("n.raw"), raw).unwrap();
        fs::write(folder.join(SAVED), "").unwrap();
    }

    async fn finish_saved(home: &Path) -> (Vec<Bundle>, Result<()>) {
        finish_in(home, &Settings::from_env().into(), Whose::All).await
    }

    #[tokio::test]
    async fn what_cannot_be_written_stays_and_costs_none_of_the_others() {
        let cache = tempfile::tempdir().unwrap();
        let evidence = cache.path().join("evidence");
        // A file stands in place of the second folder.
        let blocked = cache.path().join("blocked");
        fs::write(&blocked, "").unwrap();
        for (cluster, home) in [("a", &evidence), ("b", &blocked), ("c", &evidence)] {
            let mut notes = Notes::default();
            notes.cluster.name = cluster.into();
            notes.cluster.home = home.clone();
            let folder = cache.path().join("killed").join(cluster);
            saved_in(&folder, notes, "kubelet.log aGVsbG8= 0\n");
        }
        let killed = cache.path().join("killed");
        let (kept, ended) = finish_saved(&killed).await;
        assert_eq!(kept.len(), 2, "{kept:?}");
        let error = ended.unwrap_err();
        assert!(
            error.report().contains("killed/b', which stays"),
            "{}",
            error.report()
        );
        let cure = error.cure_text().unwrap();
        assert!(
            cure.contains(", then `kubenest logs --killed`; or remove '"),
            "{cure}"
        );
        let left: Vec<PathBuf> = folders(&killed).collect();
        assert_eq!(left, [killed.join("b")]);
        assert!(left[0].join("n.raw").is_file());

        fs::remove_file(&blocked).unwrap();
        let (kept, ended) = finish_saved(&killed).await;
        ended.unwrap();
        let log = fs::read_to_string(kept[0].folder.join("nodes/n/kubelet.log")).unwrap();
        assert_eq!(log, "hello");
        assert_eq!(folders(&killed).count(), 0);
    }

    #[tokio::test]
    async fn each_case_of_a_killed_process_has_its_own_bundle() {
        let cache = tempfile::tempdir().unwrap();
        let mut notes = Notes::default();
        notes.cluster.home = cache.path().join("evidence");
        for (namespace, since_us) in [("case-b", 1), ("case-a", 2)] {
            let case = CaseNotes {
                namespace: namespace.into(),
                test: format!("test of {namespace}"),
                since_us,
            };
            notes.cases.insert(namespace.into(), case);
        }
        let killed = cache.path().join("killed");
        let said = "api/case-a.json e30= 0\napi/case-b.json e30= 0\n";
        saved_in(&killed.join("c"), notes, said);
        let cases = fs::read_to_string(killed.join("c").join(CASES)).unwrap();
        assert_eq!(cases, "0.000001 case-b case-a");
        let (kept, ended) = finish_saved(&killed).await;
        ended.unwrap();
        assert_eq!(kept.len(), 2, "{kept:?}");
        for (bundle, (own, other)) in kept.iter().zip([("a", "b"), ("b", "a")]) {
            let name = bundle.folder.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with(&format!("test-of-case-{own}-")), "{name}");
            let has = |case| bundle.folder.join(format!("api/case-{case}.json")).exists();
            assert!(has(own) && !has(other), "{name}");
        }
    }

    #[test]
    fn what_a_living_process_has_taken_is_left_to_it() {
        let taken = |by| PathBuf::from(format!("/k/kn-1.{TAKEN}{by}"));
        assert!(is_being_finished(&taken(std::process::id())));
        assert!(!is_being_finished(&taken(u32::MAX)));
        assert!(!is_being_finished(Path::new("/k/kn-1")));
    }

    #[tokio::test]
    async fn of_a_dead_holder_each_case_has_a_bundle_although_its_cluster_is_gone() {
        let cache = tempfile::tempdir().unwrap();
        let mut notes = Notes::default();
        notes.cluster.name = "c".into();
        notes.cluster.home = cache.path().join("evidence");
        notes.cluster.held = Some(Held {
            socket: cache.path().join("no-engine.sock"),
            boot: "b".into(),
        });
        let killed = cache.path().join("killed");
        let settings = Settings::from_env().into();
        saved_in(&killed.join("c-1-beef"), notes.clone(), "");
        let (kept, ended) = finish_in(&killed, &settings, Whose::HoldersOf("c")).await;
        ended.unwrap();
        assert_eq!(kept.len(), 0, "it ran no case: {kept:?}");
        assert_eq!(folders(&killed).count(), 0);

        let case = CaseNotes {
            namespace: "case-a".into(),
            test: "the test".into(),
            since_us: 1,
        };
        notes.cases.insert(case.namespace.clone(), case);
        saved_in(&killed.join("c-1-f00d"), notes.clone(), "");
        notes.cluster.held = None;
        saved_in(&killed.join("c"), notes, "");
        let (kept, ended) = finish_in(&killed, &settings, Whose::HoldersOf("c")).await;
        ended.unwrap();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(kept[0].missing.iter().any(|missing| missing.name == "look"));
        let left: Vec<PathBuf> = folders(&killed).collect();
        assert_eq!(left, [killed.join("c")], "a guard's is left alone");
    }
}
