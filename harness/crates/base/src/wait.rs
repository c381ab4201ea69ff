//! The one way to wait: a condition, a deadline, and the last thing seen.
//!
//! Nothing else in the crate sleeps or cuts work off. A timeout is an error that says what was
//! waited for, how long, and what was seen last; when the machine is why, that is its cause.
//!
//! A deadline is what an ordinary machine needs at most. Each is multiplied by one factor
//! ([`patience()`]), those that a test gives, too: on a slow machine they mean the same.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that sleeps and cuts work off"
)]

mod machine;
mod patience;

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

pub use self::patience::with_factor;
pub use self::patience::{Patience, patience, scaled};
use self::{machine::Sample, patience::factor};
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
    /// It can no longer be seen, or come true; waiting ends at once. A test that finds the second
    /// says so by [`Probe::never`].
    Failed(Error),
}

impl<T> Probe<T> {
    /// It can no longer come true, for this reason: a failure of the test that waits.
    pub fn never(why: impl Into<String>) -> Self {
        Self::Failed(Error::setup(why).asserted())
    }

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
/// # use kubenest_base as kubenest;
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
    let deadline = Deadline::begin(deadline);
    let mut last = "nothing".to_owned();
    for pause in PAUSES.build() {
        let left = deadline.remaining().max(Duration::from_millis(1));
        match tokio::time::timeout(left, Box::pin(probe())).await {
            Ok(Probe::Ready(value)) => return Ok(value),
            Ok(Probe::Failed(error)) => return Err(error),
            Ok(Probe::Pending(seen)) => last = seen,
            Err(_) => {
                last.push_str(", then no answer");
                break;
            }
        }
        if deadline.remaining() <= pause {
            break;
        }
        pace(pause).await;
    }
    Err(deadline.missed(what, &last))
}

/// Gives `work` until the deadline.
///
/// # Errors
/// The work's own, or a timeout that names `what`.
pub fn within<T>(
    what: &str,
    deadline: Duration,
    work: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<T>> {
    // Each wait in a wait would otherwise double the future's size; test threads' stacks are small.
    let work = Box::pin(work);
    async move {
        let deadline = Deadline::begin(deadline);
        match deadline.give(work).await {
            Some(result) => result,
            None => Err(deadline.missed(what, "no end of it")),
        }
    }
}

/// Gives `work` until the deadline; `None` when it has not ended by then.
pub fn at_most<T>(
    deadline: Duration,
    work: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    let work = Box::pin(work);
    async move { tokio::time::timeout(scaled(deadline), work).await.ok() }
}

/// A deadline that runs, for those who see more of the work than that it has not ended.
#[derive(Debug)]
pub struct Deadline {
    begun: Instant,
    asked: Duration,
    allowed: Duration,
    machine: Option<Sample>,
}

impl Deadline {
    /// Begins to count the time now.
    pub fn begin(deadline: Duration) -> Self {
        Self {
            begun: Instant::now(),
            asked: deadline,
            allowed: scaled(deadline),
            machine: Sample::recent(),
        }
    }

    /// How much of it is left.
    fn remaining(&self) -> Duration {
        self.allowed.saturating_sub(self.begun.elapsed())
    }

    /// How much of it is left as a deadline of another wait, which multiplies it anew.
    pub fn rest(&self) -> Duration {
        let part = self.remaining().as_secs_f64() / self.allowed.as_secs_f64().max(f64::EPSILON);
        self.asked.mul_f64(part)
    }

    /// The work's result, or `None` when it has not ended by the deadline.
    pub fn give<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
        let work = Box::pin(work);
        async move { tokio::time::timeout(self.remaining(), work).await.ok() }
    }

    /// The error for `what` was waited for in vain; the machine is its cause if it had no time
    /// to give.
    pub fn missed(&self, what: &str, last: &str) -> Error {
        let allowed = self.allowed.as_secs_f64();
        let error = Error::timeout(format!(
            "waited {allowed:.1} s for {what}; last seen: {last}"
        ));
        match self.machine.and_then(machine::trouble_since) {
            Some(trouble) => error.because(too_slow(&trouble)),
            None => error,
        }
    }

    /// Says that there was no answer; and that the machine had no time to give, if so.
    pub fn silence(&self) -> String {
        let silence = format!("no answer within {:.0} s", self.allowed.as_secs_f64());
        match self.machine.and_then(machine::trouble_since) {
            Some(trouble) => format!("{silence}: {TOO_SLOW}{trouble}"),
            None => silence,
        }
    }
}

/// How what is said of a machine begins that is the cause of a missed deadline.
const TOO_SLOW: &str = "the machine is too slow: ";

fn too_slow(trouble: &str) -> Error {
    slowness(&format!("{TOO_SLOW}{trouble}"), factor())
}

fn slowness(what: &str, factor: f64) -> Error {
    let more = (factor * 2.0).max(2.0).ceil();
    Error::setup(what).cure(format!(
        "run fewer tests or clusters at once, or give them more time: KUBENEST_PATIENCE={more} \
         (now {factor:.1})"
    ))
}

/// That the machine is too slow, where an error or one of its causes says so.
pub fn machine_cause(error: &Error) -> Option<Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let said = cause.to_string();
        if let Some(at) = said.find(TOO_SLOW) {
            return Some(slowness(&said[at..], factor()));
        }
        next = cause.source();
    }
    None
}

/// A pause between two looks of a loop that runs for as long as something lives.
pub async fn pace(pause: Duration) {
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, ErrorKind};

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

    #[tokio::test(start_paused = true)]
    async fn a_factor_scales_every_wait() {
        let begun = Instant::now();
        let never = async || Probe::<()>::Pending("no".into());
        let error = with_factor(3.0, until("x", Duration::from_secs(2), never)).await;
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "waited 6.0 s for x; last seen: no");
        let work = std::future::pending::<Result<()>>();
        let error = with_factor(0.5, within("x", Duration::from_secs(2), work)).await;
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "waited 1.0 s for x; last seen: no end of it");
        let none = with_factor(
            2.0,
            at_most(Duration::from_secs(1), std::future::pending::<()>()),
        );
        assert_eq!(none.await, None);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_machine_that_is_the_cause_is_named_with_the_cure() {
        let machine = format!("{TOO_SLOW}its 2 processors were 99 % busy, at a load of 14.2");
        let error = Error::timeout("waited 180.0 s for kubeadm init; last seen: [certs]");
        let error = error.because(slowness(&machine, 1.4));
        let error = Err::<(), _>(error).context("boot cluster 'a'").unwrap_err();
        insta::assert_snapshot!(error.report(), @r"
        boot cluster 'a': waited 180.0 s for kubeadm init; last seen: [certs]: the machine is too slow: its 2 processors were 99 % busy, at a load of 14.2
        cure: run fewer tests or clusters at once, or give them more time: KUBENEST_PATIENCE=3 (now 1.4)
        ");
        assert_eq!(machine_cause(&error).unwrap().to_string(), machine);
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let silent = Error::setup("inspect container 'a'");
        let silent = silent.because(format!("no answer within 60 s: {machine}"));
        assert_eq!(machine_cause(&silent).unwrap().to_string(), machine);
        assert!(machine_cause(&Error::timeout("waited")).is_none());
    }
}
