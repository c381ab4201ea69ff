//! What each test asked for in its last run, kept in the cache. It narrows and completes the
//! declared needs of the test.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use kubenest_base::{Context, Result, file, lock::FileLock, settings::Settings};
use kubenest_protocol::preparing::{LastRun, Memory};

const FILE: &str = "asked.json";

/// Remembers what tests asked for.
///
/// # Errors
/// The cache cannot be written.
pub async fn remember(settings: &Settings, news: Memory) -> Result<()> {
    remember_in(&settings.cache, news).await
}

/// The whole memory; empty if the file cannot be read.
pub(super) fn recall(cache: &Path) -> Memory {
    let text = fs::read(path(cache)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

async fn remember_in(cache: &Path, news: Memory) -> Result<()> {
    let lock = cache.join("locks").join("asked.lock");
    let _lock = FileLock::exclusive(&lock, "what tests asked for").await?;
    let mut memory = recall(cache);
    memory.tests.extend(news.tests);
    let text = serde_json::to_vec_pretty(&memory).context("write what tests asked for")?;
    file::write(&path(cache), text).context("remember what tests asked for")
}

/// The needs to prepare for a test: what it asked for last time, and also its declared needs if
/// they have changed since.
pub(super) fn needs_of(declared: &[String], remembered: Option<&LastRun>) -> BTreeSet<String> {
    let asked = remembered.into_iter().flat_map(|test| &test.asked);
    let is_known = remembered.is_some_and(|test| test.declared == declared);
    let declared = declared.iter().filter(|_| !is_known);
    asked.chain(declared).cloned().collect()
}

fn path(cache: &Path) -> PathBuf {
    cache.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_was_asked_for_narrows_and_completes_what_is_declared() {
        let of = |declared: &[&str], remembered: Option<&LastRun>| {
            let needs = needs_of(&texts(declared), remembered);
            needs.into_iter().collect::<Vec<_>>().join(", ")
        };
        let remembered = LastRun {
            declared: texts(&["a", "b"]),
            asked: texts(&["b", "c"]),
            timing: None,
        };
        assert_eq!(of(&["a", "b"], None), "a, b");
        assert_eq!(of(&["a", "b"], Some(&remembered)), "b, c");
        assert_eq!(
            of(&["a", "d"], Some(&remembered)),
            "a, b, c, d",
            "declared anew"
        );
    }

    #[tokio::test]
    async fn runs_of_other_tests_forget_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let asked = |test: &str, asked: &str| Memory {
            tests: [(
                test.to_owned(),
                LastRun {
                    declared: vec![],
                    asked: texts(&[asked]),
                    timing: None,
                },
            )]
            .into(),
        };
        for (test, need) in [("a::x", "1"), ("b::y", "2"), ("a::x", "3")] {
            remember_in(cache.path(), asked(test, need)).await.unwrap();
        }
        let memory = recall(cache.path());
        assert_eq!(memory.tests["a::x"].asked, ["3"]);
        assert_eq!(memory.tests["b::y"].asked, ["2"]);
    }
}
