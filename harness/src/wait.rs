//! The one way to wait: a condition, a deadline, and the last thing seen.
//!
//! Nothing else in the crate sleeps. A timeout is an error that says what was
//! waited for, how long, and what was seen last.

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

use crate::{Error, Result};

/// The pauses between two looks; they never end.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_factor(1.5)
    .with_min_delay(Duration::from_millis(10))
    .with_max_delay(Duration::from_millis(250))
    .without_max_times();

/// What one look at a condition saw.
#[derive(Debug)]
pub enum Probe<T> {
    /// It came true.
    Ready(T),
    /// Not yet; the text says what was seen.
    Pending(String),
    /// It can no longer come true; waiting ends at once.
    Failed(Error),
}

impl<T> Probe<T> {
    /// Ready if there is a value, else pending with `seen`.
    pub fn from_option(value: Option<T>, seen: impl FnOnce() -> String) -> Self {
        value.map_or_else(|| Self::Pending(seen()), Self::Ready)
    }

    /// Ready on `Ok`; an error, with its causes where `{:#}` tells them, is what was seen.
    pub fn from_result<E: std::fmt::Display>(result: std::result::Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Ready(value),
            Err(error) => Self::Pending(format!("{error:#}")),
        }
    }
}

/// Looks again and again, at growing intervals of 10 ms to 250 ms, until `probe` is ready.
///
/// A look that hangs is cut off at the deadline.
///
/// # Errors
/// The probe's own failure, or a timeout that names `what`, the deadline and the last
/// thing seen.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::time::Duration;
/// use kubenest::wait::{self, Probe};
///
/// let folder = std::env::temp_dir();
/// wait::until("the folder to be there", Duration::from_secs(5), async || {
///     Probe::from_result(std::fs::metadata(&folder))
/// })
/// .await?;
/// # Ok::<(), kubenest::Error>(()) }).unwrap();
/// ```
pub async fn until<T, F: Future<Output = Probe<T>>>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T> {
    let start = Instant::now();
    let mut last = "nothing".to_owned();
    for pause in PAUSES.build() {
        let left = deadline.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(Duration::from_millis(1)), probe()).await {
            Ok(Probe::Ready(value)) => return Ok(value),
            Ok(Probe::Failed(error)) => return Err(error),
            Ok(Probe::Pending(seen)) => last = seen,
            Err(_) => {
                last.push_str(", then no answer");
                break;
            }
        }
        if start.elapsed() + pause >= deadline {
            break;
        }
        pace(pause).await;
    }
    Err(timed_out(what, deadline, &last))
}

/// Gives `work` until the deadline.
///
/// # Errors
/// The work's own, or a timeout that names `what`.
pub async fn within<T>(
    what: &str,
    deadline: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(what, deadline, "no end of it")),
    }
}

/// A pause between two looks of a loop that runs for as long as something lives.
pub(crate) async fn pace(pause: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    tokio::time::sleep(pause).await;
}

fn timed_out(what: &str, deadline: Duration, last: &str) -> Error {
    Error::timeout(format!(
        "waited {:.1} s for {what}; last seen: {last}",
        deadline.as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn a_timeout_says_what_was_seen_last() {
        let error = until("a pod", Duration::from_secs(2), async || {
            Probe::<()>::Pending("phase Pending".into())
        })
        .await
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(
            error.to_string(),
            "waited 2.0 s for a pod; last seen: phase Pending"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_ends_the_wait() {
        let mut looks = 0;
        let error = until("x", Duration::from_secs(60), || {
            looks += 1;
            async { Probe::<()>::Failed(Error::setup("kubelet exited")) }
        })
        .await
        .unwrap_err();
        assert_eq!((looks, error.to_string().as_str()), (1, "kubelet exited"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_cut_off() {
        let error = until("x", Duration::from_secs(3), async || {
            std::future::pending::<Probe<()>>().await
        })
        .await
        .unwrap_err();
        assert!(
            error.to_string().ends_with("nothing, then no answer"),
            "{error}"
        );
    }
}
