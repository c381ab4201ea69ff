//! Removes old bundles.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{folder::MARK, home::home, killed};
use kubenest_base::{Context, Result, settings::Settings};

/// How many of the newest bundles `kubenest clean` leaves.
pub const KEPT_BUNDLES: usize = 50;
/// Days after which it removes a bundle.
pub const KEPT_DAYS: u64 = 14;

/// Removes bundles beyond [`KEPT_BUNDLES`] and [`KEPT_DAYS`] from the folder that these settings
/// name and from the cache, with old notebooks of killed processes. Returns the removed folders.
///
/// # Errors
/// A folder cannot be removed.
pub fn prune(settings: &Settings) -> Result<Vec<PathBuf>> {
    let age = Duration::from_secs(KEPT_DAYS * 24 * 3600);
    let mut removed = killed::prune(settings, age);
    let mut homes = vec![home(settings), settings.cache.join("evidence")];
    homes.dedup();
    for home in homes {
        removed.extend(prune_folder(&home, KEPT_BUNDLES, age)?);
    }
    Ok(removed)
}

fn prune_folder(home: &Path, most: usize, age: Duration) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(home) else {
        return Ok(Vec::new());
    };
    let mut bundles: Vec<(SystemTime, PathBuf)> = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        // Links are not followed: they may lead anywhere.
        let own = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        if let (true, Ok(mark)) = (own, fs::symlink_metadata(path.join(MARK))) {
            bundles.push((mark.modified().unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    bundles.sort_by(|a, b| b.cmp(a));
    let old = |made: SystemTime| made.elapsed().is_ok_and(|since| since > age);
    let (mut removed, mut failed) = (Vec::new(), Ok(()));
    for (at, (made, path)) in bundles.into_iter().enumerate() {
        if at >= most || old(made) {
            match fs::remove_dir_all(&path) {
                Ok(()) => removed.push(path),
                // The others are removed all the same.
                error => {
                    failed =
                        failed.and(error.with_context(|| format!("remove '{}'", path.display())))
                }
            }
        }
    }
    failed.map(|()| removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn what_is_too_old_or_too_much_goes_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let foreign = home.path().join("users-own");
        fs::create_dir(&foreign).unwrap();
        let bundles: Vec<PathBuf> = (0..4)
            .map(|days| {
                let bundle = Folder::create(home.path(), &format!("b{days}"), 1).unwrap();
                let mark = fs::File::open(bundle.folder().join(MARK)).unwrap();
                mark.set_modified(SystemTime::now() - day * days).unwrap();
                bundle.folder().to_owned()
            })
            .collect();
        let removed = prune_folder(home.path(), 3, day * 5 / 2).unwrap();
        assert_eq!(removed, bundles[3..]);
        let removed = prune_folder(home.path(), 2, day * 9).unwrap();
        assert_eq!(removed, bundles[2..3]);
        assert!(foreign.exists() && bundles[1].exists());
    }
}
