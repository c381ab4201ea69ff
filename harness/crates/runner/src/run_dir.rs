//! The results of one run: a folder beside those of other runs, and the link `latest`.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, Utc};

use crate::plan::Test;

/// Name of the folder that holds the outcomes of tests.
pub(crate) const OUTCOMES: &str = "outcomes";
/// How many runs are kept.
const KEPT_RUNS: usize = 10;

/// The folder of one run.
pub(crate) struct RunDir {
    /// The id of the run, which also stands in the labels of what it makes.
    pub(crate) run: String,
    pub(crate) path: PathBuf,
}

impl RunDir {
    /// Makes the folder. `all` holds one folder per run.
    pub(crate) fn create(all: &Path, started: DateTime<Utc>) -> anyhow::Result<Self> {
        // Two containers may start a run in the same second and with the same process number.
        let random = RandomState::new().hash_one(started) as u32;
        let (time, process) = (started.format("%Y%m%d-%H%M%S"), std::process::id());
        let run = format!("{time}-{process}-{random:08x}");
        let path = all.join(&run);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self { run, path })
    }

    /// The folder as a user would type it.
    pub(crate) fn display_path(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        self.path
            .strip_prefix(here)
            .unwrap_or(&self.path)
            .display()
            .to_string()
    }

    /// The log of one test.
    pub(crate) fn log(&self, test: &Test) -> PathBuf {
        self.path
            .join("logs")
            .join(&test.package.name)
            .join(format!("{}.log", file_name(test)))
    }

    /// The file that says how one test ended.
    pub(crate) fn outcome(&self, test: &Test) -> PathBuf {
        self.path
            .join(OUTCOMES)
            .join(&test.package.name)
            .join(format!("{}.json", file_name(test)))
    }

    /// The lock file, which says what the nodes of the run are made of.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("kubenest.lock")
    }

    /// Copies the lock file of an earlier run, so that this run uses the same nodes.
    pub(crate) fn take_lock(&self, former: &Path) -> anyhow::Result<()> {
        let copied = fs::copy(former, self.lock());
        copied.with_context(|| format!("read the lock file {}", former.display()))?;
        Ok(())
    }

    /// The folder for the verdict files of one test.
    pub(crate) fn verdicts(&self, test: &Test) -> PathBuf {
        self.path
            .join("verdicts")
            .join(&test.package.name)
            .join(file_name(test))
    }

    /// The folder in which a test, and all that it starts, leaves the evidence of failures.
    pub(crate) fn evidence(&self, test: &Test) -> PathBuf {
        self.path
            .join("evidence")
            .join(&test.package.name)
            .join(file_name(test))
    }

    /// Writes a result file as a whole or not at all.
    pub(crate) fn write(&self, name: &str, text: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        write(&path, text)?;
        Ok(path)
    }

    /// Points `latest` to this run and removes all but the newest runs.
    pub(crate) fn publish(&self) -> anyhow::Result<()> {
        let all = self.path.parent().context("a run's folder has a parent")?;
        link_latest(all, &self.run).with_context(|| format!("link {}/latest", all.display()))?;
        prune(all).with_context(|| format!("remove old runs from {}", all.display()))
    }
}

/// Writes a file as a whole or not at all.
pub(crate) fn write(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Replaces the link in one step, so that a reader finds either the old run or the new one.
fn link_latest(all: &Path, run: &str) -> std::io::Result<()> {
    let link = tempfile::Builder::new()
        .prefix(".latest")
        .make_in(all, |path| std::os::unix::fs::symlink(run, path))?;
    link.into_temp_path()
        .persist(all.join("latest"))
        .map_err(|failed| failed.error)
}

fn prune(all: &Path) -> std::io::Result<()> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && is_run(&name) {
            runs.push((name, entry.path()));
        }
    }
    runs.sort();
    let old = runs.len().saturating_sub(KEPT_RUNS);
    runs.iter()
        .take(old)
        .try_for_each(|(_, path)| match fs::remove_dir_all(path) {
            // Another process has just removed the folder.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        })
}

/// Whether a folder has the name of a run: `20260131-235959-4242-0a1b2c3d`, or the older form
/// without the last part. Other folders are not ours to remove.
fn is_run(name: &str) -> bool {
    let parts: Vec<_> = name.split('-').collect();
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let ([day, time, process, rest @ ..], true) = (&parts[..], parts.len() <= 4) else {
        return false;
    };
    (day.len(), time.len()) == (8, 6)
        && !process.is_empty()
        && [day, time, process].into_iter().all(|part| digits(part))
        && rest.iter().all(|part| hex(part))
}

/// A file name made from a test's name.
fn file_name(test: &Test) -> String {
    let name = format!("{}.{}", test.target, test.name.replace("::", "."));
    match test.node() {
        Some(node) => format!("{name}@{}", as_file_name(node)),
        None => name,
    }
}

/// A node's name without what a file name cannot have; a digest is cut to what tells it apart.
fn as_file_name(node: &str) -> String {
    let (name, digest) = node.split_once("@sha256:").unwrap_or((node, ""));
    let name = name.replace(
        |letter: char| !letter.is_ascii_alphanumeric() && letter != '.',
        "-",
    );
    match digest.get(..12) {
        Some(digest) => format!("{name}-{digest}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{image_gc, test};

    fn at(second: u32) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + i64::from(second), 0).unwrap()
    }

    #[test]
    fn the_newest_ten_runs_stay_and_latest_points_to_the_last() {
        let all = tempfile::tempdir().unwrap();
        fs::create_dir(all.path().join("notes")).unwrap();
        for second in 0..12 {
            let dir = RunDir::create(all.path(), at(second)).unwrap();
            dir.write("report.json", b"{}").unwrap();
            dir.publish().unwrap();
        }
        let runs = fs::read_dir(all.path())
            .unwrap()
            .map(|e| e.unwrap().file_name());
        let mut runs: Vec<_> = runs
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        runs.sort();
        let process = std::process::id();
        assert_eq!(
            runs.len(),
            KEPT_RUNS + 2,
            "ten runs, latest and notes: {runs:?}"
        );
        let oldest = format!("20260101-000002-{process}-");
        assert!(runs[0].starts_with(&oldest), "{runs:?}");
        let latest = fs::read_link(all.path().join("latest")).unwrap();
        let latest = latest.to_str().unwrap();
        let newest = format!("20260101-000011-{process}-");
        assert!(latest.starts_with(&newest), "{latest}");
        assert!(all.path().join("latest/report.json").exists());
    }

    #[test]
    fn two_runs_of_one_second_and_process_number_are_two() {
        let all = tempfile::tempdir().unwrap();
        let make = || RunDir::create(all.path(), at(0)).unwrap().run;
        assert_ne!(make(), make());
    }

    #[test]
    fn only_runs_are_pruned() {
        assert!(is_run("20260131-235959-4242-0a1b2c3d"));
        assert!(is_run("20260131-235959-4242"), "an older release's");
        for name in [
            "20260131-235959-4242-0a1b",
            "20260131-235959-4242-0a1b2c3d-1",
            "latest",
            "notes",
            "20260131-235959",
            "20260131-235959-",
            "2026-01-31",
        ] {
            assert!(!is_run(name), "{name} is not a run");
        }
    }

    #[test]
    fn a_test_has_its_own_files() {
        let dir = RunDir {
            run: "r".to_owned(),
            path: PathBuf::from("r"),
        };
        let test = test(&image_gc(), "affected::is_lost");
        let log = PathBuf::from("r/logs/image-gc/regression.affected.is_lost.log");
        assert_eq!(dir.log(&test), log);
        let on = |name: &str| {
            let node = crate::nodes::tests::node(name, &[]);
            let log = dir.log(&test.clone().on(node));
            log.file_name().unwrap().to_string_lossy().into_owned()
        };
        assert_eq!(
            on("v1.34.3-cri-o"),
            "regression.affected.is_lost@v1.34.3-cri-o.log"
        );
        let digest = format!("kindest/node:v1.32.2@sha256:{}", "f2".repeat(32));
        let image = "regression.affected.is_lost@kindest-node-v1.32.2-f2f2f2f2f2f2.log";
        assert_eq!(on(&digest), image);
    }
}
