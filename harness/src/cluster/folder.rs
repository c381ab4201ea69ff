//! The folder of a cluster in the cache, which holds its administrator's key, and the removal of
//! abandoned folders.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::site::Site;
use kubenest_base::{Context, Result, file, settings::Settings};
use kubenest_docker::{Docker, Liveness, Owner, labels};

/// The file beside the kubeconfig that names the owner.
const MADE_BY: &str = "made-by.json";
/// How long an unseen owner may take from making the folder to its first container.
const UNSEEN: Duration = Duration::from_secs(24 * 60 * 60);
/// Suffix of a folder that a process is removing; the process number follows.
const LEAVING: &str = "leaving-";

/// Who made a cluster, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Maker {
    owner: String,
    /// Of a nested cluster, the engine of the outermost cluster around it.
    engine: String,
    /// The outermost cluster around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    around: Option<String>,
}

/// The folder of a cluster's own files.
pub(super) fn path(settings: &Settings, name: &str) -> PathBuf {
    home(settings).join(name)
}

fn home(settings: &Settings) -> PathBuf {
    settings.cache.join("clusters")
}

/// The cluster's kubeconfig.
pub(super) fn kubeconfig(settings: &Settings, name: &str) -> PathBuf {
    path(settings, name).join("kubeconfig")
}

/// Makes the folder, readable by its user only, and records who may end the cluster.
pub(super) fn make(site: &Site) -> Result<PathBuf> {
    let folder = path(&site.settings, &site.name);
    make_private(&folder)?;
    let maker = Maker {
        owner: site.owner.to_string(),
        engine: site.outermost_engine().endpoint().to_string(),
        around: site.around.as_ref().map(|around| around.cluster.clone()),
    };
    let text = serde_json::to_vec(&maker).context("note who made a cluster")?;
    file::write(&folder.join(MADE_BY), text)?;
    Ok(folder)
}

/// Makes the folder of all clusters' folders, which the guard of a lease has to see.
pub(super) fn make_home(settings: &Settings) -> Result<()> {
    make_private(&home(settings))
}

fn make_private(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("make '{}'", folder.display()))
}

/// Removes the folders of clusters that are gone, and returns their names. A folder is removed if
/// its cluster was made in one of these engines, none of the engines has a container of that
/// cluster, and the owner is dead or has been out of sight for a day. All others stay.
///
/// # Errors
/// An engine does not answer; a folder cannot be removed.
pub async fn forget_dead(engines: &[Docker]) -> Result<Vec<String>> {
    let mut there = BTreeSet::new();
    for docker in engines {
        let all = docker.labelled(labels::OWNER).await?.into_iter();
        there.extend(all.filter_map(|labels| labels.get(labels::CLUSTER).cloned()));
    }
    let asked = engines
        .iter()
        .map(|docker| docker.endpoint().to_string())
        .collect();
    let homes: BTreeSet<PathBuf> = engines
        .iter()
        .map(|docker| home(docker.settings()))
        .collect();
    let (mut gone, mut ended) = (Vec::new(), Ok(()));
    for home in homes {
        match forget_in(&home, &asked, &there) {
            Ok(names) => gone.extend(names),
            Err(error) => ended = ended.and(Err(error)),
        }
    }
    ended.map(|()| gone)
}

fn forget_in(
    home: &Path,
    asked: &BTreeSet<String>,
    there: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let is_dead = |folder: &Path| {
        let maker = maker(folder)?;
        let owner: Owner = maker.owner.parse().ok()?;
        let gone = is_gone(owner.liveness(), age(folder));
        let gone = gone && !maker.around.is_some_and(|around| there.contains(&around));
        (gone && asked.contains(&maker.engine)).then_some(())
    };
    let (mut gone, mut ended) = (Vec::new(), Ok(()));
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let (folder, name) = (
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        );
        let name = name
            .split_once(&format!(".{LEAVING}"))
            .map_or(name.as_str(), |(name, _)| name);
        if there.contains(name) || is_dead(&folder).is_none() {
            continue;
        }
        // A boot of that name may begin at this moment. So the folder is renamed first, and checked
        // again where no boot can write to it.
        let leaving = folder.with_file_name(format!("{name}.{LEAVING}{}", std::process::id()));
        if fs::rename(&folder, &leaving).is_err() {
            continue;
        }
        if is_dead(&leaving).is_none() {
            fs::rename(&leaving, &folder).ok();
            continue;
        }
        match fs::remove_dir_all(&leaving) {
            Ok(()) => gone.push(name.to_owned()),
            error => {
                let what = || format!("remove '{}'", leaving.display());
                ended = ended.and(error.with_context(what));
            }
        }
    }
    ended.map(|()| gone)
}

fn maker(folder: &Path) -> Option<Maker> {
    serde_json::from_slice(&fs::read(folder.join(MADE_BY)).ok()?).ok()
}

fn age(folder: &Path) -> Duration {
    let made = fs::symlink_metadata(folder.join(MADE_BY)).and_then(|found| found.modified());
    let age = made.ok().and_then(|made| made.elapsed().ok());
    age.unwrap_or_default()
}

/// Whether the owner can no longer need a folder of this age.
fn is_gone(owner: Liveness, age: Duration) -> bool {
    match owner {
        Liveness::Alive => false,
        Liveness::Dead => true,
        Liveness::Unknown => age > UNSEEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_its_folder_in_the_cache_of_its_own_settings() {
        let in_cache = |cache: &str| {
            let mut settings = Settings::from_env();
            settings.cache = cache.into();
            kubeconfig(&settings, "c")
        };
        assert_eq!(in_cache("/one"), Path::new("/one/clusters/c/kubeconfig"));
        assert_eq!(in_cache("/two"), Path::new("/two/clusters/c/kubeconfig"));
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_a_dead_process_made_in_an_engine_that_lacks_it_goes() {
        let home = tempfile::tempdir().unwrap();
        let own = Owner::current().to_string();
        // Process 1 has another start time, so that owner is dead; a process of another machine
        // cannot be seen.
        let dead = format!("{}/1-1", own.rsplit_once('/').unwrap().0);
        let elsewhere = "elsewhere/0-0/1-1".to_owned();
        for (name, owner, engine, around) in [
            ("dead", &dead, "unix:///a", ""),
            ("killed.while.removed.leaving-1", &dead, "unix:///a", ""),
            ("kept-by-dead", &dead, "unix:///a", ""),
            ("same-name-in-b", &dead, "unix:///a", ""),
            ("engine-is-off", &dead, "unix:///off", ""),
            ("alive", &own, "unix:///a", ""),
            ("unknown", &elsewhere, "unix:///a", ""),
            ("nested-in-dead", &dead, "unix:///a", "dead"),
            ("nested-in-kept", &dead, "unix:///a", "kept-by-dead"),
        ] {
            let folder = home.path().join(name);
            fs::create_dir(&folder).unwrap();
            let maker = Maker {
                owner: owner.clone(),
                engine: engine.into(),
                around: (!around.is_empty()).then(|| around.to_owned()),
            };
            fs::write(folder.join(MADE_BY), serde_json::to_vec(&maker).unwrap()).unwrap();
            fs::write(folder.join("kubeconfig"), "key").unwrap();
        }
        fs::create_dir(home.path().join("of-an-older-version")).unwrap();
        let asked = set(&["unix:///a", "unix:///b"]);
        let there = set(&["kept-by-dead", "same-name-in-b"]);
        let mut gone = forget_in(home.path(), &asked, &there).unwrap();
        gone.sort();
        assert_eq!(gone, ["dead", "killed.while.removed", "nested-in-dead"]);
        let left: BTreeSet<String> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let kept = [
            "kept-by-dead",
            "same-name-in-b",
            "engine-is-off",
            "alive",
            "unknown",
            "nested-in-kept",
            "of-an-older-version",
        ];
        assert_eq!(left, set(&kept));
    }

    #[test]
    fn an_owner_that_cannot_be_seen_has_a_day() {
        assert!(is_gone(Liveness::Dead, Duration::ZERO));
        assert!(!is_gone(Liveness::Alive, 2 * UNSEEN));
        assert!(!is_gone(Liveness::Unknown, UNSEEN / 2));
        assert!(is_gone(Liveness::Unknown, 2 * UNSEEN));
    }
}
