//! The folders that evidence is kept in: made, filled, and removed when they are old.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use tempfile::TempDir;

use super::{killed, page::FileLink};
use kubenest_base::{Context, Result, settings::settings};

/// Bundles that `kubenest clean` leaves, the newest.
pub const KEPT_BUNDLES: usize = 50;
/// Days after which it removes a bundle.
pub const KEPT_DAYS: u64 = 14;

/// In each folder that was made here; what lacks it is never removed.
const MARK: &str = ".kubenest-evidence";
/// What is kept is for its owner only: redaction goes by what it knows.
const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;
/// Longest part of a folder's name that comes from a test or a cluster.
const NAME: usize = 100;

/// A folder that is being filled.
#[derive(Debug)]
pub(super) struct Bundle {
    folder: PathBuf,
    pub(super) files: Vec<FileLink>,
}

/// Where bundles go: where the setting says, else below the nearest `target`, else in the
/// cache.
pub(super) fn home() -> PathBuf {
    let settings = settings();
    if let Some(folder) = &settings.evidence {
        return std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
    }
    let here = std::env::current_dir().unwrap_or_default();
    let own = here
        .ancestors()
        .find(|folder| folder.join("Cargo.toml").is_file() && folder.join("target").is_dir());
    match own {
        Some(own) => own.join("target/kubenest-evidence"),
        None => settings.cache.join("evidence"),
    }
}

impl Bundle {
    /// A new folder in `home`, named after what it is about; none is ever used again.
    pub(super) fn create(home: &Path, about: &str, process: u32) -> Result<Self> {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let name = format!("{}-{stamp}-{process}", slug(about));
        let what = || format!("make a folder in '{}'", home.display());
        fs::create_dir_all(home).with_context(what)?;
        for count in 1.. {
            let name = if count == 1 {
                name.clone()
            } else {
                format!("{name}-{count}")
            };
            let folder = home.join(name);
            match fs::DirBuilder::new().mode(FOLDER).create(&folder) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(what)?;
                    return Self::marked(folder);
                }
            }
        }
        unreachable!("a free name must be found")
    }

    /// The folder of a cluster's full logs, the newest of which replace the older.
    pub(super) fn full(home: &Path, cluster: &str) -> Result<Self> {
        let folder = home.join(format!("cluster-{}", slug(cluster)));
        make_folders(&folder).with_context(|| format!("make '{}'", folder.display()))?;
        Self::marked(folder)
    }

    fn marked(folder: PathBuf) -> Result<Self> {
        write_file(&folder.join(MARK), "")
            .with_context(|| format!("write '{}'", folder.display()))?;
        Ok(Self {
            folder,
            files: Vec::new(),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a text that was redacted; `path` was checked.
    pub(super) fn write(&mut self, path: &str, what: &str, text: &str, cut: bool) -> Result<()> {
        self.put(path, text)?;
        self.files.push(FileLink {
            path: path.to_owned(),
            what: what.to_owned(),
            bytes: text.len() as u64,
            cut,
        });
        Ok(())
    }

    /// Writes a file that the page does not list.
    pub(super) fn put(&self, path: &str, text: &str) -> Result<()> {
        let path = self.folder.join(path);
        let what = || format!("write '{}'", path.display());
        if let Some(parent) = path.parent() {
            make_folders(parent).with_context(what)?;
        }
        write_file(&path, text).with_context(what)
    }
}

fn make_folders(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(FOLDER).create(folder)
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE);
    options.open(path)?.write_all(text.as_bytes())
}

/// A folder for bundles that go with it. It is among the others, so that they are pruned if this
/// process does not get to its end, but they are not taken for those of a failure.
pub fn aside() -> Result<TempDir> {
    let home = home();
    let make = || {
        fs::create_dir_all(&home)?;
        let aside = tempfile::Builder::new()
            .prefix("asked-for-")
            .tempdir_in(&home)?;
        write_file(&aside.path().join(MARK), "")?;
        Ok::<_, io::Error>(aside)
    };
    make().with_context(|| format!("make a folder in '{}'", home.display()))
}

/// Removes bundles beyond [`KEPT_BUNDLES`] and [`KEPT_DAYS`] from where this process would
/// write them and from the cache, and what is left there of killed processes. Returns what it
/// removed.
///
/// # Errors
/// A folder cannot be removed.
pub fn prune() -> Result<Vec<PathBuf>> {
    let age = Duration::from_secs(KEPT_DAYS * 24 * 3600);
    let mut removed = killed::prune(age);
    let mut homes = vec![home(), settings().cache.join("evidence")];
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
        // Of the entry itself: a link may lead to anything.
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
                // The others go all the same.
                error => {
                    failed =
                        failed.and(error.with_context(|| format!("remove '{}'", path.display())))
                }
            }
        }
    }
    failed.map(|()| removed)
}

/// A name that every file system takes.
fn slug(about: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    let words = about.split(|c| !plain(c)).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("-");
    name.truncate(NAME);
    match name.trim_matches('.') {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_bundle_is_never_written_over() {
        let home = tempfile::tempdir().unwrap();
        let make = || Bundle::create(home.path(), "suite::fixed::../x", 7).unwrap();
        let (one, two) = (make(), make());
        assert_ne!(one.folder(), two.folder());
        let name = one.folder().file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("suite-fixed-..-x-2") && name.ends_with("Z-7"),
            "{name}"
        );
        assert_eq!(slug(".."), "unnamed");
    }

    #[test]
    fn what_is_kept_is_for_its_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let bundle = Bundle::create(home.path(), "b", 1).unwrap();
        bundle.put("nodes/n/kubelet.log", "text").unwrap();
        let full = Bundle::full(home.path(), "c").unwrap();
        full.put("index.json", "{}").unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for folder in [
            bundle.folder().join("nodes/n"),
            bundle.folder().into(),
            full.folder().into(),
        ] {
            assert_eq!(mode(folder), FOLDER);
        }
        for file in [
            bundle.folder().join("nodes/n/kubelet.log"),
            full.folder().join("index.json"),
        ] {
            assert_eq!(mode(file), FILE);
        }
    }

    #[test]
    fn what_is_too_old_or_too_much_goes_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let foreign = home.path().join("users-own");
        fs::create_dir(&foreign).unwrap();
        let bundles: Vec<PathBuf> = (0..4)
            .map(|days| {
                let bundle = Bundle::create(home.path(), &format!("b{days}"), 1).unwrap();
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
