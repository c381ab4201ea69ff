//! What the tests that [`kubenest::test`](crate::test) makes do when they run. For its code only.

use std::{backtrace::BacktraceStatus, fmt, panic::AssertUnwindSafe, path::Path};

use anyhow::Context;
use futures::FutureExt;
use tokio::runtime::Builder;

use crate::{Case, Cluster, ClusterSpec, Error, Preparation, telemetry, verdict};
use kubenest_evidence::panic_message;

/// How a test ended, as libtest takes it.
pub type TestResult = Result<(), Failure>;

/// A test that is to run.
pub struct Test {
    runtime: Runtime,
    spec: anyhow::Result<ClusterSpec>,
    preparation: anyhow::Result<Option<Preparation>>,
    exclusive: bool,
}

/// The runtime of a test.
pub enum Runtime {
    /// On the test's thread alone.
    CurrentThread,
    /// On so many threads, or one for each processor.
    MultiThread(Option<usize>),
}

impl Test {
    /// A test on a cluster of the default spec.
    pub fn new(runtime: Runtime) -> Self {
        telemetry::start();
        Self {
            runtime,
            spec: Ok(ClusterSpec::single_node()),
            preparation: Ok(None),
            exclusive: false,
        }
    }

    /// On a cluster of this spec.
    #[must_use]
    pub fn spec(self, spec: impl OptionValue<ClusterSpec>) -> Self {
        let spec = spec.value().context("make the spec of this test");
        Self { spec, ..self }
    }

    /// On a cluster prepared in this way.
    #[must_use]
    pub fn prepared(self, preparation: impl OptionValue<Preparation>) -> Self {
        let preparation = preparation.value().map(Some);
        let preparation = preparation.context("make the preparation of this test");
        Self {
            preparation,
            ..self
        }
    }

    /// On a cluster that nobody else has meanwhile.
    #[must_use]
    pub fn exclusive(self) -> Self {
        Self {
            exclusive: true,
            ..self
        }
    }

    /// Runs a body in a case of its own.
    ///
    /// # Errors
    /// The body's own, or why it could not be run.
    ///
    /// # Panics
    /// When the body does.
    pub fn in_case(self, body: impl AsyncFnOnce(&Case<'_>) -> anyhow::Result<()>) -> TestResult {
        self.on_cluster(async move |cluster| {
            let ended = cluster.case(body).await;
            let released = cluster.down().await;
            ended.and(released.map_err(anyhow::Error::from))
        })
    }

    /// Runs a body with the leased cluster, without a case.
    ///
    /// # Errors
    /// As [`in_case`](Self::in_case).
    ///
    /// # Panics
    /// When the body does.
    pub fn on_cluster(self, body: impl AsyncFnOnce(Cluster) -> anyhow::Result<()>) -> TestResult {
        let work = async {
            let spec = self.spec.inspect_err(leave_verdict)?;
            let mut request = crate::lease(&spec);
            if let Some(preparation) = self.preparation.inspect_err(leave_verdict)? {
                request = request.prepared(preparation);
            }
            if self.exclusive {
                request = request.exclusive();
            }
            let cluster = request.await?;
            // Boxed: a body is a large future, and test threads have small stacks.
            Box::pin(body(cluster)).await
        };
        let mut builder = match self.runtime {
            Runtime::CurrentThread => Builder::new_current_thread(),
            Runtime::MultiThread(_) => Builder::new_multi_thread(),
        };
        if let Runtime::MultiThread(Some(threads)) = self.runtime {
            builder.worker_threads(threads);
        }
        let runtime = builder.enable_all().build();
        let runtime = runtime.context("make a runtime").inspect_err(leave_verdict);
        runtime.map_err(Failure)?.block_on(work).map_err(Failure)
    }
}

/// Leaves a verdict where a test fails before it has a cluster.
fn leave_verdict(error: &anyhow::Error) {
    verdict::leave(&verdict::broken_setup(format!("{error:#}")));
}

/// A value that an option gives, or a `Result` of it.
#[diagnostic::on_unimplemented(
    message = "this option of `kubenest::test` takes a `{T}` or a `Result` of one, not `{Self}`",
    note = "a `Result` may have any error that anyhow takes"
)]
pub trait OptionValue<T> {
    /// The value.
    ///
    /// # Errors
    /// The one in its place.
    fn value(self) -> anyhow::Result<T>;
}

impl<T> OptionValue<T> for T {
    fn value(self) -> anyhow::Result<T> {
        Ok(self)
    }
}

impl<T, E: Into<anyhow::Error>> OptionValue<T> for Result<T, E> {
    fn value(self) -> anyhow::Result<T> {
        self.map_err(Into::into)
    }
}

/// What the body of a test may return.
#[diagnostic::on_unimplemented(
    message = "a kubenest test returns `()` or a `Result`, not `{Self}`",
    note = "a `Result` may have any error that anyhow takes"
)]
pub trait Outcome {
    /// The error, if it is one.
    ///
    /// # Errors
    /// The body's own.
    fn into_result(self) -> anyhow::Result<()>;
}

impl Outcome for () {
    fn into_result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl<T, E: Into<anyhow::Error>> Outcome for Result<T, E> {
    fn into_result(self) -> anyhow::Result<()> {
        self.map(drop).map_err(Into::into)
    }
}

/// What a body returned, as a result.
///
/// # Errors
/// The body's own.
pub fn outcome(of: impl Outcome) -> anyhow::Result<()> {
    of.into_result()
}

/// Runs a body that must panic, with a message that contains the expected text.
///
/// This is done here and not by libtest, to which a broken set-up would be as good a panic.
///
/// # Errors
/// The body has not panicked, or with another message.
pub async fn panics(
    expected: Option<&str>,
    body: impl Future<Output = impl Outcome>,
) -> anyhow::Result<()> {
    let message = match AssertUnwindSafe(body).catch_unwind().await {
        Ok(ended) => {
            ended.into_result()?;
            anyhow::bail!("the test did not panic, as it should");
        }
        Err(panic) => panic_message(panic.as_ref()),
    };
    let expected = expected.unwrap_or_default();
    anyhow::ensure!(
        message.contains(expected),
        "the test should panic with {expected:?}, and did with {message:?}"
    );
    Ok(())
}

/// The user's own client, from a kubeconfig of the case.
///
/// # Errors
/// The kubeconfig cannot be written, or the client cannot be made.
pub async fn client<C, E: Into<anyhow::Error>>(
    case: &Case<'_>,
    make: impl AsyncFnOnce(&Path) -> Result<C, E>,
) -> anyhow::Result<C> {
    let kubeconfig = case.kubeconfig()?;
    let made = make(&kubeconfig).await.map_err(Into::into);
    made.context("make the test's own client")
}

/// An error that ended a test. libtest prints it with `Debug`: causes and cure.
pub struct Failure(anyhow::Error);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut causes = self.0.chain().map(|cause| cause.downcast_ref::<Error>());
        if let Some(Some(own)) = causes.next() {
            f.write_str(&own.report())?;
        } else {
            write!(f, "{:#}", self.0)?;
            if let Some(cure) = causes.flatten().find_map(Error::cure_text) {
                write!(f, "\ncure: {cure}")?;
            }
        }
        match self.0.backtrace() {
            taken if taken.status() == BacktraceStatus::Captured => write!(f, "\n\n{taken}"),
            _ => Ok(()),
        }
    }
}
