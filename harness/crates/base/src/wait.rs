//! The one way to wait: a condition, a deadline, and the last thing seen.
//!
//! Nothing else in the crate sleeps or cuts work off. A timeout is an error that says what was
//! waited for, how long, and what was seen last; if the machine was too slow, that is its cause.
//!
//! Deadlines are written for an ordinary machine. All of them, those of tests too, are multiplied
//! by one factor ([`patience()`]), so that they also hold on a slow machine.

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
pub use self::patience::{Patience, patience, scaled, set_patience};
use self::{machine::Sample, patience::factor};
use crate::{Error, Result};

/// The longest pause between two looks, unless the caller needs shorter ones.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// The pauses between two looks, without a limit on their number.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_factor(1.5)
    .with_min_delay(Duration::from_millis(10))
    .without_max_times();

/// The result of one look at a condition.
#[derive(Debug)]
pub enum Probe<T> {
    /// It came true.
    Ready(T),
    /// Not yet; the text says what was seen.
    Pending(String),
    /// It can no longer be observed, or no longer come true; waiting ends at once. A test reports
    /// the latter with [`Probe::never`].
    Failed(Error),
}

impl<T> Probe<T> {
    /// The condition can no longer come true, for this reason; that fails the waiting test.
    pub fn never(why: impl Into<String>) -> Self {
        Self::Failed(Error::setup(why).asserted())
    }

    /// Ready if there is a value, else pending with `seen`.
    pub fn from_option(value: Option<T>, seen: impl FnOnce() -> String) -> Self {
        value.map_or_else(|| Self::Pending(seen()), Self::Ready)
    }

    /// Ready on `Ok`, else pending with the error as `{:#}` shows it.
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
    probe: impl FnMut() -> F,
) -> Result<T> {
    until_with(LONGEST_PAUSE, what, deadline, probe).await
}

/// As [`until`], with pauses between two looks of at most `pause`: for a look that costs little and
/// on whose result much waits.
///
/// # Errors
/// As [`until`].
pub async fn until_with<T, F: Future<Output = Probe<T>>>(
    pause: Duration,
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T> {
    let deadline = Deadline::begin(deadline);
    let mut last = "nothing".to_owned();
    for pause in PAUSES.with_max_delay(pause).build() {
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
    // Boxed, because each nested wait would double the future's size, and test threads have small
    // stacks.
    let work = Box::pin(work);
    async move {
        let deadline = Deadline::begin(deadline);
        match deadline.give(work).await {
            Some(result) => result,
            None => Err(deadline.missed(what, "no end of it")),
        }
    }
}

/// The result of `work`, or `None` when it has not ended by the deadline.
pub fn at_most<T>(
    deadline: Duration,
    work: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    let work = Box::pin(work);
    async move { tokio::time::timeout(scaled(deadline), work).await.ok() }
}

/// A running deadline, for callers that can say what the unfinished work was doing.
#[derive(Debug)]
pub struct Deadline {
    begun: Instant,
    nominal: Duration,
    allowed: Duration,
    machine: Option<Sample>,
}

impl Deadline {
    /// Starts the deadline now.
    pub fn begin(deadline: Duration) -> Self {
        Self {
            begun: Instant::now(),
            nominal: deadline,
            allowed: scaled(deadline),
            machine: Sample::recent(),
        }
    }

    /// The time left.
    fn remaining(&self) -> Duration {
        self.allowed.saturating_sub(self.begun.elapsed())
    }

    /// The time left, unscaled: for use as the deadline of another wait, which scales it again.
    pub fn rest(&self) -> Duration {
        let part = self.remaining().as_secs_f64() / self.allowed.as_secs_f64().max(f64::EPSILON);
        self.nominal.mul_f64(part)
    }

    /// The work's result, or `None` when it has not ended by the deadline.
    pub fn give<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
        let work = Box::pin(work);
        async move { tokio::time::timeout(self.remaining(), work).await.ok() }
    }

    /// The timeout error for `what`; a machine without spare time becomes its cause.
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

    /// Says that there was no answer, and why if the machine had no spare time.
    pub fn silence(&self) -> String {
        let silence = format!("no answer within {:.0} s", self.allowed.as_secs_f64());
        match self.machine.and_then(machine::trouble_since) {
            Some(trouble) => format!("{silence}: {TOO_SLOW}{trouble}"),
            None => silence,
        }
    }
}

/// Prefix of the text that blames the machine; [`machine_cause`] finds the cause by it.
const TOO_SLOW: &str = "the machine is too slow: ";

fn too_slow(trouble: &str) -> Error {
    slow_machine_error(&format!("{TOO_SLOW}{trouble}"), factor())
}

fn slow_machine_error(what: &str, factor: f64) -> Error {
    let more = (factor * 2.0).max(2.0).ceil();
    Error::setup(what).cure(format!(
        "run fewer tests or clusters at once, or give them more time: KUBENEST_PATIENCE={more} \
         (now {factor:.1})"
    ))
}

/// The machine's slow_machine_error as an error, if `error` or one of its causes reports it.
pub fn machine_cause(error: &Error) -> Option<Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let said = cause.to_string();
        if let Some(at) = said.find(TOO_SLOW) {
            return Some(slow_machine_error(&said[at..], factor()));
        }
        next = cause.source();
    }
    None
}

/// Pauses between two looks of a loop that has no deadline of its own.
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
    fn a_slow_machine_is_named_as_the_cause_with_its_cure() {
        let machine = format!("{TOO_SLOW}its 2 processors were 99 % busy, at a load of 14.2");
        let error = Error::timeout("waited 180.0 s for kubeadm init; last seen: [certs]");
        let error = error.because(slow_machine_error(&machine, 1.4));
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
