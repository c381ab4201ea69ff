//! Waiting in tests: like the harness' own, but a timeout is a failure of the test.

use std::time::Duration;

#[doc(inline)]
pub use kubenest_base::wait::Probe;
use kubenest_base::{Result, wait};

/// Looks again and again, at growing intervals of 10 ms to 250 ms, until `probe` is ready.
///
/// A look that hangs is cut off at the deadline.
///
/// # Errors
/// A timeout that names `what`, the deadline and the last thing seen, and is a failure of the
/// [test](crate::Origin::Test); or the probe's own error, unchanged.
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
    let result = wait::until(what, deadline, || {
        let look = probe();
        async {
            match look.await {
                Probe::Ready(value) => Probe::Ready(Ok(value)),
                Probe::Pending(seen) => Probe::Pending(seen),
                Probe::Failed(error) => Probe::Ready(Err(error)),
            }
        }
    });
    result.await.map_err(kubenest_base::Error::asserted)?
}

/// Gives `work` until the deadline.
///
/// # Errors
/// A timeout that names `what`, and is a failure of the [test](crate::Origin::Test); or the work's
/// own error, unchanged.
pub async fn within<T>(
    what: &str,
    deadline: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let result = wait::within(what, deadline, async { Ok(work.await) });
    result.await.map_err(kubenest_base::Error::asserted)?
}
