//! How long it took to make things on this machine, kept in the cache for the next estimate.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kubenest_base::{Context, Error, Result, file, lock::FileLock};

/// The file in the cache: seconds by the name of the thing.
const FILE: &str = "durations.json";

/// Does the work that makes the thing with this name, and stores in the cache how long it took.
pub(crate) async fn timed<T>(
    cache: &Path,
    name: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let begun = Instant::now();
    let made = Box::pin(work).await?;
    if let Err(error) = remember(cache, name, begun.elapsed()).await {
        // The thing itself has been made, which matters more than its duration.
        tracing::warn!("{}", error.report());
    }
    Ok(made)
}

/// The durations in a cache; none if the file cannot be read.
pub(crate) fn remembered(cache: &Path) -> BTreeMap<String, f64> {
    let text = fs::read(path(cache)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

async fn remember(cache: &Path, name: &str, took: Duration) -> Result<()> {
    let lock = cache.join("locks").join("durations.lock");
    let _lock = FileLock::exclusive(&lock, "the durations").await?;
    let mut all = remembered(cache);
    // No estimate needs more than tenths of a second.
    all.insert(name.to_owned(), (took.as_secs_f64() * 10.0).round() / 10.0);
    let text = serde_json::to_vec_pretty(&all).context("write the durations")?;
    file::write(&path(cache), text)
        .map_err(|error| Error::setup("cannot remember how long it took").because(error))
}

fn path(cache: &Path) -> PathBuf {
    cache.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_time_of_each_is_remembered() {
        let cache = tempfile::tempdir().unwrap();
        assert!(remembered(cache.path()).is_empty());
        for (name, seconds) in [("kind 0.27.0", 31.27), ("a", 2.0), ("kind 0.27.0", 29.0)] {
            let took = Duration::from_secs_f64(seconds);
            remember(cache.path(), name, took).await.unwrap();
        }
        let all = remembered(cache.path());
        assert_eq!(all["kind 0.27.0"], 29.0);
        assert_eq!(all.len(), 2);
        fs::write(path(cache.path()), "{").unwrap();
        assert!(remembered(cache.path()).is_empty());
    }
}
