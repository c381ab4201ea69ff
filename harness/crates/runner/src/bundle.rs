//! The evidence of a test that did not pass: a folder with a page to read, and the summary from its
//! index.

use std::fs;
use std::path::{Path, PathBuf};

use kubenest_protocol::{Cause, Index};
use serde::{Deserialize, Serialize};

/// An evidence bundle that the library wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bundle {
    /// The folder; relative to the run's folder if it is inside that.
    pub(crate) path: PathBuf,
    /// None when the bundle's index cannot be read.
    #[serde(flatten)]
    pub(crate) summary: Option<Summary>,
}

/// What the index of a bundle says in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The root cause, if one was recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<Cause>,
    /// How many files the bundle holds.
    pub(crate) files: usize,
    /// How many collectors failed.
    pub(crate) missing: usize,
}

/// The folders of a test's bundles: first those that its verdict files name, then the others in the
/// test's evidence folder, such as those of processes that were killed.
pub(crate) fn folders(named: impl Iterator<Item = PathBuf>, home: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = named.filter(|folder| folder.is_dir()).collect();
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    let mut others: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|folder| folder.join("index.json").is_file())
        .collect();
    others.sort();
    folders.extend(others);
    let mut seen = std::collections::BTreeSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

impl Bundle {
    /// Reads the bundle in this folder; `run` is the folder of the run.
    pub(crate) fn read(path: &Path, run: &Path) -> Self {
        let text = fs::read(path.join("index.json"));
        let index = text
            .ok()
            .and_then(|text| serde_json::from_slice::<Index>(&text).ok());
        Self {
            path: path.strip_prefix(run).unwrap_or(path).to_owned(),
            summary: index.map(|index| Summary {
                cause: index.diagnosis.into_iter().next(),
                files: index.files.len(),
                missing: index.missing.len(),
            }),
        }
    }

    /// The page to open.
    pub(crate) fn page(&self) -> PathBuf {
        self.path.join("index.html")
    }

    /// The cause of the failure, if it was recognised.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.summary.as_ref()?.cause.as_ref()
    }

    /// `(9 files, 1 collector failed)`, with a space before it.
    pub(crate) fn extent(&self) -> String {
        let some = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        match &self.summary {
            None => " (its index cannot be read)".to_owned(),
            Some(summary) if summary.missing == 0 => format!(" ({})", some(summary.files, "file")),
            Some(summary) => {
                let (files, missing) = (
                    some(summary.files, "file"),
                    some(summary.missing, "collector"),
                );
                format!(" ({files}, {missing} failed)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_tells_the_first_cause_and_what_is_missing() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("evidence/a-1");
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(
            Bundle::read(&folder, run.path()).extent(),
            " (its index cannot be read)"
        );
        let index = r#"{"schema": 1, "title": "a", "diagnosis": [
                {"id": "x", "title": "stale", "cause": "old", "cure": "restart", "lines": []},
                {"id": "y", "title": "later", "cause": "b", "cure": "c", "lines": []}],
            "files": [{"path": "a"}, {"path": "b"}], "missing": [{"name": "kernel"}]}"#;
        fs::write(folder.join("index.json"), index).unwrap();
        let bundle = Bundle::read(&folder, run.path());
        assert_eq!(bundle.page(), Path::new("evidence/a-1/index.html"));
        assert_eq!(bundle.cause().unwrap().cure, "restart");
        assert_eq!(bundle.extent(), " (2 files, 1 collector failed)");
    }
}
