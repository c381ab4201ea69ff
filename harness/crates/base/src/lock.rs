//! Locks between processes: the holder keeps a file locked.
//!
//! The kernel releases the lock when its holder dies, even by `kill -9`.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    Context, Result, progress,
    wait::{self, Deadline, Probe},
};

/// How long to wait for another holder at most: a build may take an hour for each of its programs.
pub const LONGEST: Duration = Duration::from_secs(3 * 60 * 60);

/// A held lock; it is released when it is dropped or the process dies.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Waits for the lock at `path`. The file names its holder, so that a waiting process can say
    /// for whom it waits.
    ///
    /// # Errors
    /// The file cannot be made or locked, or its holder keeps the lock for hours.
    pub async fn exclusive(path: &Path, what: &str) -> Result<Self> {
        let deadline = Deadline::begin(LONGEST);
        let (wanted, named) = (path.to_owned(), what.to_owned());
        let (sender, taken) = oneshot::channel();
        // Not a thread of the runtime: the runtime could not shut down while that thread waits.
        thread::spawn(move || sender.send(Self::take(wanted, &named)));
        match deadline.give(taken).await {
            Some(taken) => taken.context("wait for a lock")?,
            None => {
                let seen = format!("{} has it", holder(path));
                Err(deadline.missed(what, &seen).cure("end that process"))
            }
        }
    }

    /// Takes the lock if nobody has it.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn try_exclusive(path: &Path, what: &str) -> Result<Option<Self>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self::note_holder(file, path.to_owned(), what)?)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(cause)) => {
                Err(cause).with_context(|| format!("lock '{}'", path.display()))
            }
        }
    }

    /// Waits until one of these locks is free, and takes it.
    ///
    /// # Errors
    /// A file cannot be made or locked, or none of the locks becomes free by the deadline.
    pub async fn any(paths: &[PathBuf], what: &str, deadline: Duration) -> Result<Self> {
        let told = AtomicBool::new(false);
        wait::until(what, deadline, async || {
            for path in paths {
                match Self::try_exclusive(path, what) {
                    Ok(None) => {}
                    Ok(Some(lock)) => return Probe::Ready(lock),
                    Err(error) => return Probe::Failed(error),
                }
            }
            let holders = paths.iter().map(|path| holder(path));
            let holders = holders.collect::<Vec<_>>().join(", ");
            if !told.swap(true, Ordering::Relaxed) {
                progress!("waiting for {what}: in use by {holders}");
            }
            Probe::Pending(format!("in use by {holders}"))
        })
        .await
    }

    /// The locked file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn take(path: PathBuf, what: &str) -> Result<Self> {
        if let Some(lock) = Self::try_exclusive(&path, what)? {
            return Ok(lock);
        }
        let file = open(&path)?;
        progress!("waiting: {} has {what}", holder(&path));
        file.lock()
            .with_context(|| format!("lock '{}'", path.display()))?;
        Self::note_holder(file, path, what)
    }

    fn note_holder(mut file: File, path: PathBuf, what: &str) -> Result<Self> {
        let name = || format!("write the holder of '{}'", path.display());
        file.set_len(0).with_context(name)?;
        file.rewind().with_context(name)?;
        writeln!(file, "process {} ({what})", std::process::id()).with_context(name)?;
        Ok(Self { file, path })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        self.file.unlock().ok();
    }
}

/// Who has noted in the file that he has the lock.
fn holder(path: &Path) -> String {
    let noted = std::fs::read_to_string(path).unwrap_or_default();
    noted.trim().to_owned()
}

fn open(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("make '{}'", dir.display()))?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("open lock '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Runtime;

    use super::*;

    #[tokio::test]
    async fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/lock");
        let held = FileLock::exclusive(&path, "a test").await.unwrap();
        assert!(FileLock::try_exclusive(&path, "another").unwrap().is_none());
        assert!(std::fs::read_to_string(&path).unwrap().contains("(a test)"));
        drop(held);
        assert!(FileLock::try_exclusive(&path, "another").unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn any_lock_that_is_free_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| dir.path().join(name));
        let any = async || FileLock::any(&paths, "a place", Duration::from_secs(9)).await;
        let one = any().await.unwrap();
        let two = any().await.unwrap();
        assert_eq!([one.path(), two.path()], [&*paths[0], &*paths[1]]);
        let process = std::process::id();
        assert_eq!(
            any().await.unwrap_err().to_string(),
            format!(
                "waited 9.0 s for a place; last seen: in use by process {process} (a place), \
                 process {process} (a place)"
            )
        );
        let (taken, ()) = tokio::join!(any(), async { drop(one) });
        assert_eq!(taken.unwrap().path(), paths[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_never_releases_the_lock_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = FileLock::try_exclusive(&path, "a test").unwrap();
        let error = FileLock::exclusive(&path, "the engine").await.unwrap_err();
        let holder = std::process::id();
        assert_eq!(
            error.to_string(),
            format!("waited 10800.0 s for the engine; last seen: process {holder} (a test) has it")
        );
    }

    #[test]
    fn an_abandoned_wait_does_not_block_the_runtime() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::try_exclusive(&path, "a test").unwrap();
        let wanted = path.clone();
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            let wait = FileLock::exclusive(&wanted, "another");
            let soon = Duration::from_millis(50);
            let given_up = runtime.block_on(async { crate::wait::at_most(soon, wait).await });
            drop(runtime);
            ended.send(given_up.is_none()).unwrap();
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(60)), Ok(true));
        drop(held);
    }
}
