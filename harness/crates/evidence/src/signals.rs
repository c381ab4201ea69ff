//! Ctrl-C and SIGTERM while clusters live: evidence of them is collected before they are removed.

use std::{
    sync::{Mutex, Once, PoisonError},
    thread,
    time::Duration,
};

use futures::future::join_all;
use tokio::{signal::unix::SignalKind, sync::Semaphore};

use super::{Bundle, Occasion, collect::collect, subject::Subject};
use kubenest_base::{Result, progress, signals::EndSignals, wait};

/// How long the collection may take after a signal: test runners send SIGKILL after ten seconds.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long all bundles may take when the engine does not answer either.
const BOUND: Duration = Duration::from_secs(20);

/// Closed by the signal that ends this process.
static UNTIL_SIGNAL: Semaphore = Semaphore::const_new(0);
/// The same signals, for whoever acts on one before the thread that watches does.
static END_SIGNALS: Mutex<Option<EndSignals>> = Mutex::new(None);

/// Runs work on a cluster's nodes, unless a signal ends this process. From the signal on the nodes
/// stay as they are until there is a bundle of each cluster and the process ends; then guards
/// remove them. Returns `None` when the process has not ended in time.
pub async fn unless_ending<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = ending() => {
            wait::pace(BOUND + PATIENCE).await;
            None
        }
        done = work => Some(done),
    }
}

/// Ends when a signal has come.
async fn ending() {
    if has_come() {
        UNTIL_SIGNAL.close();
    }
    // A closed semaphore is an error.
    UNTIL_SIGNAL.acquire().await.ok();
}

fn has_come() -> bool {
    let mut signals = END_SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
    signals.as_mut().is_some_and(EndSignals::has_come)
}

/// Watches for signals from now on, once for the process. A signal writes a bundle of each living
/// cluster and ends the process with the exit status that shells use; guards then remove the
/// clusters.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(wait_and_end()),
                Err(error) => tracing::warn!("signals are not watched: {error}"),
            }
        });
    });
}

async fn wait_and_end() {
    let listened = EndSignals::listen().and_then(|own| Ok((own, EndSignals::listen()?)));
    let (mut own, others) = match listened {
        Ok(listened) => listened,
        Err(error) => return tracing::warn!("signals are not watched: {error}"),
    };
    *END_SIGNALS.lock().unwrap_or_else(PoisonError::into_inner) = Some(others);
    let kind = own.next().await;
    UNTIL_SIGNAL.close();
    let living = Subject::living();
    if !living.is_empty() {
        progress!("interrupted; what the nodes say is kept, then they are removed");
        let looks = living.iter().map(|subject| keep_each(subject, kind));
        // The bound is not scaled, because a test runner's deadline is the same on a slow machine.
        let kept = wait::with_factor(1.0, wait::at_most(BOUND, join_all(looks))).await;
        if kept.is_none() {
            tracing::warn!("no evidence is kept: it takes too long");
        }
        for kept in kept.into_iter().flatten().flatten() {
            match kept {
                Ok(kept) => progress!("{kept}"),
                Err(error) => tracing::warn!("no evidence is kept: {}", error.report()),
            }
        }
    }
    // The guards' streams end with the process.
    std::process::exit(128 + kind.as_raw_value());
}

/// Writes a bundle of each case that runs on a cluster.
async fn keep_each(cluster: &Subject, kind: SignalKind) -> Vec<Result<Bundle>> {
    let why = Occasion {
        reason: "interrupted",
        message: format!("signal {} ended the process", kind.as_raw_value()),
        ..Occasion::default()
    };
    let subjects = cluster.subjects_now();
    let looks = subjects
        .iter()
        .map(|subject| collect(subject, &why, None, PATIENCE));
    let kept = join_all(looks).await;
    if kept.iter().all(Result::is_ok) {
        // The guard need not save the same again.
        cluster.forget();
    }
    kept
}
