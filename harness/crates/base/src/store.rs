//! The cache on disk: entries built once, whole or not at all.
//!
//! An entry is a folder `<root>/<kind>/<key>`. It is built under another name, listed in a
//! manifest, synced to disk and then renamed, so that an interrupted build leaves nothing that is
//! trusted later. Processes that want the same entry wait for the one that builds it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Context, Error, Result, file,
    lock::FileLock,
    settings::{Settings, trust},
};

/// Name of the list of files in a finished entry.
const MANIFEST: &str = ".kubenest-entry.json";

/// Prefix of the names of unfinished entries.
const HALF: &str = ".half-";

/// Prefix of the scratch folders that earlier releases made beside the kinds, and the only files
/// they put there: a folder with other files is not ours to remove.
const SCRATCH: &str = ".tmp";
const SCRATCH_FILES: [&str; 2] = ["images.tar", "state.tar"];

/// Minimum age of a scratch folder to remove: no lock shows whether it is in use.
const SCRATCH_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder of entries.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// The files of a finished entry; checked when the entry is used again.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    /// Size in bytes of each regular file, by path in the entry.
    files: BTreeMap<PathBuf, u64>,
}

impl Store {
    /// The store in the cache folder of these settings.
    pub fn of(settings: &Settings) -> Self {
        Self::open(&settings.cache)
    }

    /// The store in this folder.
    pub fn open(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The folder of all entries.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The finished entry of this kind and key, if there is one.
    ///
    /// # Errors
    /// The entry is damaged (the cure names the folder to remove), or another user can write to it.
    pub fn get(&self, kind: &str, key: &str) -> Result<Option<PathBuf>> {
        let path = self.path(kind, key)?;
        // The entry's files will be run, so nobody else may be able to change them.
        trust::check_as_it_is(&path)?;
        if !path.exists() {
            return Ok(None);
        }
        verify(&path)?;
        Ok(Some(path))
    }

    /// The entry of this kind and key, built by `build` in an empty folder if it is not
    /// there yet.
    ///
    /// # Errors
    /// The build's own, a full disk, or an entry that was damaged since it was built.
    pub async fn entry(
        &self,
        kind: &str,
        key: &str,
        build: impl AsyncFnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(path) = self.get(kind, key)? {
            return Ok(path);
        }
        let path = self.path(kind, key)?;
        let _lock = FileLock::exclusive(&self.lock(kind, key), &format!("{kind} {key}")).await?;
        if let Some(path) = self.get(kind, key)? {
            return Ok(path);
        }
        let half = path.with_file_name(format!("{HALF}{key}"));
        // Left by a process that died while it held the lock.
        remove(&half)?;
        fs::create_dir_all(&half).with_context(|| format!("make '{}'", half.display()))?;
        let built = build(&half).await.and_then(|()| finish(&half, &path));
        if let Err(error) = built {
            remove(&half).ok();
            return Err(error);
        }
        Ok(path)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn forget(&self, kind: &str, key: &str) -> Result<()> {
        remove(&self.path(kind, key)?)
    }

    /// Removes what killed builds left: unfinished entries that no process is building. Returns the
    /// removed folders.
    ///
    /// # Errors
    /// A folder cannot be listed, locked or removed.
    pub fn prune_unfinished(&self) -> Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        for (name, path) in folders(&self.root)? {
            if name.starts_with(SCRATCH) {
                if is_older(&path, SCRATCH_AGE) && is_scratch(&path) {
                    remove(&path)?;
                    removed.push(path);
                }
                continue;
            }
            for (entry, half) in folders(&path)? {
                let Some(key) = entry.strip_prefix(HALF) else {
                    continue;
                };
                // A process that builds the entry holds this lock.
                let lock = FileLock::try_exclusive(&self.lock(&name, key), "removal")?;
                if lock.is_some() {
                    remove(&half)?;
                    removed.push(half);
                }
            }
        }
        Ok(removed)
    }

    fn lock(&self, kind: &str, key: &str) -> PathBuf {
        self.root.join("locks").join(format!("{kind}-{key}.lock"))
    }

    /// Fails early if the disk has too little room for `what`.
    ///
    /// # Errors
    /// Fewer than `needed` bytes are free on the store's disk.
    pub fn require_free(&self, needed: u64, what: &str) -> Result<()> {
        fs::create_dir_all(&self.root)
            .with_context(|| format!("make '{}'", self.root.display()))?;
        let stat = nix::sys::statvfs::statvfs(&self.root)
            .with_context(|| format!("look at the disk of '{}'", self.root.display()))?;
        let free = stat.blocks_available() * stat.fragment_size();
        if free >= needed {
            return Ok(());
        }
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        Err(Error::setup(format!(
            "{what} needs {:.1} GiB of disk at '{}', where {:.1} GiB are free",
            gib(needed),
            self.root.display(),
            gib(free)
        ))
        .cure("free disk space there, or set KUBENEST_CACHE to a roomier folder"))
    }

    fn path(&self, kind: &str, key: &str) -> Result<PathBuf> {
        for name in [kind, key] {
            let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
            if name.is_empty() || name.starts_with('.') || !name.bytes().all(fine) {
                return Err(Error::input(format!("'{name}' cannot name a cache entry")));
            }
        }
        Ok(self.root.join(kind).join(key))
    }
}

fn finish(half: &Path, path: &Path) -> Result<()> {
    let manifest = Manifest {
        files: sizes(half)?,
    };
    let text = serde_json::to_vec(&manifest).context("write a cache entry's manifest")?;
    file::write(&half.join(MANIFEST), text)?;
    // A crash of the machine must not leave a named entry with unwritten files.
    let dir = fs::File::open(half).with_context(|| format!("open '{}'", half.display()))?;
    nix::unistd::syncfs(&dir).with_context(|| format!("sync '{}'", half.display()))?;
    fs::rename(half, path).with_context(|| format!("name '{}'", path.display()))
}

fn verify(path: &Path) -> Result<()> {
    let damaged = |why: String| {
        Error::setup(format!(
            "cache entry '{}' is damaged: {why}",
            path.display()
        ))
        .cure(format!(
            "rm -r {}",
            crate::process::quote(&path.to_string_lossy())
        ))
    };
    let text = fs::read(path.join(MANIFEST)).map_err(|e| damaged(format!("no manifest: {e}")))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|e| damaged(format!("manifest: {e}")))?;
    for (file, size) in &manifest.files {
        let found = fs::symlink_metadata(path.join(file))
            .map_err(|e| damaged(format!("{}: {e}", file.display())))?;
        if found.len() != *size {
            let (file, found) = (file.display(), found.len());
            return Err(damaged(format!("{file} has {found} bytes, not {size}")));
        }
    }
    Ok(())
}

fn sizes(dir: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let sizes = file::regular_files(dir)?.into_iter().map(|path| {
        let meta = fs::symlink_metadata(&path);
        let meta = meta.with_context(|| format!("look at '{}'", path.display()))?;
        let name = path.strip_prefix(dir).unwrap_or(&path).to_owned();
        Ok((name, meta.len()))
    });
    sizes.collect()
}

/// The folders in a folder, by name; empty if the folder is missing.
fn folders(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let what = || format!("list '{}'", path.display());
    let list = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.with_context(what)?,
    };
    let mut found = Vec::new();
    for item in list {
        let item = item.with_context(what)?;
        if item.file_type().with_context(what)?.is_dir() {
            let name = item.file_name().to_string_lossy().into_owned();
            found.push((name, item.path()));
        }
    }
    Ok(found)
}

/// Whether a folder holds nothing but the scratch files of earlier releases.
fn is_scratch(path: &Path) -> bool {
    let known = |item: std::io::Result<fs::DirEntry>| {
        item.is_ok_and(|item| SCRATCH_FILES.iter().any(|name| item.file_name() == *name))
    };
    fs::read_dir(path).is_ok_and(|mut items| items.all(known))
}

fn is_older(path: &Path, age: Duration) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|found| found.modified());
    changed.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > age))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove '{}'", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn build(store: &Store, text: &str) -> Result<PathBuf> {
        store
            .entry("part", "a-1", async |dir| {
                fs::write(dir.join("f"), text).context("write")?;
                Ok(())
            })
            .await
    }

    #[tokio::test]
    async fn an_entry_is_built_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let first = build(&store, "one").await.unwrap();
        assert_eq!(build(&store, "two").await.unwrap(), first);
        assert_eq!(fs::read_to_string(first.join("f")).unwrap(), "one");
    }

    #[tokio::test]
    async fn a_failed_build_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let failed = store
            .entry("part", "a-1", async |dir| {
                fs::write(dir.join("f"), "half").context("write")?;
                Err(Error::setup("compiler died"))
            })
            .await;
        assert_eq!(failed.unwrap_err().to_string(), "compiler died");
        assert!(store.get("part", "a-1").unwrap().is_none());
    }

    #[tokio::test]
    async fn leftovers_of_a_killed_build_are_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let half = dir.path().join("part/.half-a-1");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join("junk"), "x").unwrap();
        let path = build(&store, "one").await.unwrap();
        assert!(!path.join("junk").exists());
    }

    #[tokio::test]
    async fn leftovers_of_killed_builds_are_pruned_and_running_builds_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let finished = build(&store, "one").await.unwrap();
        let left = dir.path().join("layer/.half-b-2");
        fs::create_dir_all(left.join(".tmpscratch")).unwrap();
        fs::write(left.join(".tmpscratch/images.tar"), "x").unwrap();
        let scratch = dir.path().join(".tmpold");
        let young = dir.path().join(".tmpyoung");
        let foreign = dir.path().join(".tmpforeign");
        for folder in [&scratch, &young, &foreign] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(scratch.join("images.tar"), "x").unwrap();
        fs::write(foreign.join("letter.txt"), "x").unwrap();
        let old = std::time::SystemTime::now() - 2 * SCRATCH_AGE;
        for folder in [&scratch, &foreign] {
            fs::File::open(folder).unwrap().set_modified(old).unwrap();
        }
        let built = store.entry("layer", "c-3", async |half| {
            let mut pruned = store.prune_unfinished()?;
            pruned.sort();
            assert_eq!(pruned, [scratch.clone(), left.clone()]);
            assert!(half.is_dir());
            Ok(())
        });
        let built = built.await.unwrap();
        assert!(finished.is_dir() && built.is_dir() && young.is_dir());
        assert!(!left.exists() && !scratch.exists() && foreign.is_dir());
        assert!(store.prune_unfinished().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_damaged_entry_is_named_with_its_cure() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let path = build(&store, "one").await.unwrap();
        fs::write(path.join("f"), "cut").unwrap();
        assert!(build(&store, "one").await.is_ok(), "same size");
        fs::write(path.join("f"), "").unwrap();
        let error = build(&store, "one").await.unwrap_err();
        assert!(
            error.to_string().contains("f has 0 bytes, not 3"),
            "{error}"
        );
        assert!(error.cure_text().unwrap().starts_with("rm -r "));
    }

    #[test]
    fn a_full_disk_is_reported_before_a_build() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        assert!(store.require_free(1, "a test").is_ok());
        let error = store.require_free(u64::MAX, "a test").unwrap_err();
        assert!(error.to_string().starts_with("a test needs "), "{error}");
        assert!(error.cure_text().unwrap().contains("KUBENEST_CACHE"));
    }

    #[tokio::test]
    async fn an_entry_that_others_can_write_to_is_not_used() {
        // Everybody can enter /tmp; the user's own TMPDIR may be closed to others.
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let store = Store::open(dir.path());
        build(&store, "one").await.unwrap();
        let kind = dir.path().join("part");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&kind, fs::Permissions::from_mode(0o777)).unwrap();
        let error = build(&store, "one").await.unwrap_err();
        assert!(error.to_string().contains("part' may hold"), "{error}");
    }

    #[test]
    fn a_key_cannot_leave_the_store() {
        let store = Store::open(Path::new("/nowhere"));
        assert!(store.get("part", "../etc").is_err());
        assert!(store.get("part", ".half-a").is_err());
    }
}
