//! The operations of a case that concern no object: its parts, waits, and notes for the report.

use std::time::Duration;

use kube::Client;

use super::Case;
use crate::{
    Cluster,
    wait::{self, Probe},
};
use kubenest_base::Result;
use kubenest_evidence as evidence;
use kubenest_evidence::{Bundle, Occasion};
use kubenest_node::node::Node;

impl<'a> Case<'a> {
    /// The cluster that the case runs on.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// A client with administrator's rights.
    pub fn client(&self) -> Client {
        self.cluster.client()
    }

    /// The control plane's node.
    pub fn node(&self) -> &'a Node {
        self.cluster.control_plane()
    }

    /// The case's own namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Waits for a condition; see [`wait::until`].
    ///
    /// # Errors
    /// A timeout with what was seen last, which is a failure of the test; or the probe's own error:
    /// that of [`Probe::never`] is a failure of the test, and the error in a [`Probe::Failed`] is
    /// returned unchanged.
    pub async fn until<T, F: Future<Output = Probe<T>>>(
        &self,
        what: &str,
        deadline: Duration,
        probe: impl FnMut() -> F,
    ) -> Result<T> {
        self.note_step(format!("wait for {what}"));
        let seen = wait::until(what, deadline, probe).await;
        self.note_result(&format!("saw {what}"), &seen);
        seen
    }

    /// Notes a step of the test for the time line in the evidence. Waiting and creating are noted
    /// automatically.
    pub fn note_step(&self, what: impl AsRef<str>) {
        self.subject.note_step(format!("test: {}", what.as_ref()));
    }

    pub(super) fn note_result<T>(&self, success: &str, result: &Result<T>) {
        match result {
            Ok(_) => self.note_step(success),
            Err(error) => self.subject.note_failure(false, error.report()),
        }
    }

    /// Notes for the report what the test expected and observed. It decides nothing: the test's own
    /// assertions do.
    pub fn note_observed(&self, expected: impl Into<String>, observed: impl Into<String>) {
        self.observed
            .replace(Some((expected.into(), observed.into())));
    }

    /// Notes for the report that the documented failure has just shown. The report says how long
    /// after the start of the boot a test without the gate would have met it. Only the first call
    /// counts.
    pub fn note_failure_shown(&self) {
        let after = self.cluster.started().elapsed().as_secs_f64();
        self.failure_after
            .set(Some(self.failure_after.get().unwrap_or(after)));
    }

    /// Collects evidence now, as on a failure, including the [observed](Case::note_observed) state:
    /// for tests that a failure can be understood from its evidence.
    ///
    /// The folder stays if the case fails, and is removed with the case otherwise.
    /// [`Cluster::evidence`] writes evidence that always stays.
    ///
    /// # Errors
    /// The evidence cannot be written.
    ///
    /// ```no_run
    /// # async fn example(cluster: kubenest::Cluster) -> anyhow::Result<()> {
    /// cluster
    ///     .case(async |case| {
    ///         case.node().exec_ok(&["systemctl", "kill", "--signal=KILL", "containerd"]).await?;
    ///         let kept = case.evidence().await?;
    ///         assert!(kept.folder.join("index.html").is_file());
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn evidence(&self) -> Result<Bundle> {
        let home = evidence::temporary_home(self.cluster.docker().settings())?;
        let (expected, observed) = self.observed.borrow().clone().unzip();
        let why = Occasion {
            expected,
            observed,
            ..Occasion::asked_for()
        };
        let kept = evidence::of_subject(&self.subject, &why, Some(home.path())).await;
        self.requested_evidence.borrow_mut().push(home);
        kept
    }
}
