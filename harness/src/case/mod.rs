//! The steps of one test: gate, namespace, body, cleanup, verdict, and re-raising a panic.

mod abandoned;
mod access;
mod apply;
#[cfg(feature = "testcontainers")]
mod container;
mod failed;
mod fields;
mod gate;
mod kinds;
mod namespace;
mod outcome;
mod pods;
mod verbs;
mod webhook;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic::{AssertUnwindSafe, resume_unwind},
    process, thread,
    time::{Duration, Instant},
};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, ObjectList};
use kubenest_protocol::{Phase, Verdict, VerdictFile};
use tempfile::{TempDir, TempPath};

use self::gate::Place;
pub(crate) use self::gate::{HEALTHY, Running};
use self::webhook::Webhooks;
use crate::{Cluster, verdict};
use kubenest_base::{Context, ErrorKind, Result, file, progress, random, wait};
use kubenest_evidence as evidence;
use kubenest_evidence::{Occasion, Subject};
use kubenest_node::objects::Outside;

/// How long an API server may take to list a case's Secrets.
const SECRETS: Duration = Duration::from_secs(2);

/// A test's own part of a cluster: a namespace, and notes for the report.
pub struct Case<'a> {
    cluster: &'a Cluster,
    namespace: String,
    /// The nodes and history from which evidence is collected.
    subject: Subject,
    /// Keeps the case counted as running.
    _place: Place<'a>,
    observed: RefCell<Option<(String, String)>>,
    /// Seconds from the start of the boot to the documented failure.
    failure_after: Cell<Option<f64>>,
    /// Folders of evidence that the test itself requested.
    requested_evidence: RefCell<Vec<TempDir>>,
    /// What the case has made outside its namespace.
    outside: Outside,
    /// The kubeconfig files made for the test, which end with the case.
    kubeconfigs: RefCell<Vec<TempPath>>,
    webhooks: Webhooks,
}

impl Cluster {
    /// Runs one test: the health gate, then the body in a namespace of its own. Returns the body's
    /// result.
    ///
    /// Loaded images must stay: if one disappears from a node, the body is cancelled, and the error
    /// says what removed it. [`Images::release`](kubenest_images::Images::release) allows removing
    /// one. Pins and kubelet settings that protect images are restored before the gate, in case an
    /// earlier test or a restart changed them.
    ///
    /// The namespace is removed afterwards, and all that was made through the case outside of it,
    /// whether the body succeeded, failed or panicked. Nothing waits for the end of the removal. On
    /// a [shared](crate::lease) cluster the namespace of a failed test stays until the test runs
    /// again; of a cluster the newest five stay.
    ///
    /// # Red or broken
    /// When `KUBENEST_VERDICTS` names a folder, the case leaves a verdict there. It tells a failed
    /// test (`cargo xtask e2e` ends with 100) from a broken set-up (105), by the error that ended
    /// the body:
    ///
    /// - Failed: a panic, `anyhow::ensure!` and `bail!`, and errors of [`client()`](Case::client)
    ///   or any other library. Also those errors of kubenest that are the result of a test's own
    ///   check: a condition that did not come true, a pod that ended, an object that the API server
    ///   refused, a loaded image that is gone.
    /// - Broken: kubenest could not do its part. The gate refused, the engine, containerd or API
    ///   server did not answer, a command could not be run on a node, an image could not be loaded.
    ///   Such an [`Error`](crate::Error) counts as broken also when the body returns it with `?`,
    ///   with added context or as the cause of another error.
    ///
    /// # Several at once
    /// Cases may run concurrently on one cluster, each with its own namespace, verdict and
    /// evidence. Only a case that begins alone repairs nodes before its gate. One that begins
    /// beside others only checks them; if a node is unhealthy, it waits until it is alone, and
    /// fails if that takes longer than five minutes. A loaded image that disappears ends all of
    /// them.
    ///
    /// # Errors
    /// The body's own error, or why the body could not be run.
    ///
    /// # Panics
    /// When the body does, after the cleanup.
    ///
    /// ```no_run
    /// # async fn example(cluster: kubenest::Cluster) -> anyhow::Result<()> {
    /// cluster
    ///     .case(async |case| {
    ///         let pods = case.api::<kubenest::k8s_openapi::api::core::v1::Pod>();
    ///         assert!(pods.list(&Default::default()).await?.items.is_empty());
    ///         Ok(())
    ///     })
    ///     .await?;
    /// let address = cluster.case(async |case| Ok(case.node().ip())).await?;
    /// assert!(address.is_ipv4());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn case<T>(
        &self,
        body: impl AsyncFnOnce(&Case<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut record = self.record();
        let begin = Instant::now();
        let case = match self.open().await {
            Ok(case) => case,
            Err(error) => {
                self.running().doubt();
                record.verdict = Verdict::Setup;
                record.message = Some(error.report());
                keep_evidence(self.subject(), &mut record, "gate refused").await;
                verdict::leave(&record);
                return Err(error.into());
            }
        };
        record
            .phases
            .insert(Phase::Gate, begin.elapsed().as_secs_f64());
        self.stop_if_up_only();

        let begin = Instant::now();
        let body_result = self.run_guarded(&case, body).await;
        record
            .phases
            .insert(Phase::Body, begin.elapsed().as_secs_f64());
        if let Some((expected, observed)) = case.observed.take() {
            (record.expected, record.observed) = (Some(expected), Some(observed));
        }
        let shown = case.failure_after.get().map(|after| (Phase::Shown, after));
        record.phases.extend(shown);
        let kept_for = match &body_result {
            Ok(Ok(_)) => {
                record.verdict = Verdict::Passed;
                self.docker()
                    .settings()
                    .evidence_always
                    .then_some("asked for")
            }
            Ok(Err(error)) => {
                record.verdict = outcome::verdict_of(error);
                record.message = Some(format!("{error:#}"));
                Some(outcome::reason(error))
            }
            Err(panic) => {
                record.message = Some(evidence::panic_message(panic.as_ref()));
                Some("panicked")
            }
        };
        if let Some(reason) = kept_for {
            keep_evidence(&case.subject, &mut record, reason).await;
        }
        if record.verdict != Verdict::Passed {
            self.running().doubt();
            case.requested_evidence
                .take()
                .into_iter()
                .for_each(|folder| drop(folder.keep()));
        }
        let begin = Instant::now();
        case.close(&record.verdict).await;
        record
            .phases
            .insert(Phase::Cleanup, begin.elapsed().as_secs_f64());

        verdict::leave(&record);
        match body_result {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs the body to its end, or until a protected image is gone from a node.
    async fn run_guarded<T>(
        &self,
        case: &Case<'_>,
        body: impl AsyncFnOnce(&Case<'_>) -> anyhow::Result<T>,
    ) -> thread::Result<anyhow::Result<T>> {
        // Boxed: a body is a large future, and test threads have small stacks.
        let body = AssertUnwindSafe(Box::pin(body(case))).catch_unwind();
        let ended = tokio::select! {
            ended = body => ended,
            lost = self.protection().watch(self.nodes()) => Ok(Err(lost.asserted().into())),
        };
        match ended {
            // A last look for images lost since the watch's last one. Nodes that do not answer are
            // ignored: the test may have stopped them.
            Ok(Ok(value)) => match self.protection().check(self.nodes()).await {
                Err(lost) if lost.kind() == ErrorKind::Refused => Ok(Err(lost.asserted().into())),
                _ => Ok(case.webhooks.check().map(|()| value).map_err(Into::into)),
            },
            ended => ended,
        }
    }

    /// Ends the process before a body runs, where only the cluster of a test is wanted. The cluster
    /// is kept.
    fn stop_if_up_only(&self) {
        let Some(answer) = &self.docker().settings().up_only else {
            return;
        };
        match file::write(answer, self.hint()) {
            Ok(()) => process::exit(0),
            Err(error) => {
                progress!("{}", error.report());
                process::exit(1);
            }
        }
    }

    /// The verdict before the body has run: failed until the body succeeds.
    fn record(&self) -> VerdictFile {
        let mut phases = BTreeMap::from([(Phase::Image, 0.0), (Phase::Boot, 0.0)]);
        for phase in self.phases() {
            let key = match phase.name.as_str() {
                "image" => Phase::Image,
                _ => Phase::Boot,
            };
            *phases.entry(key).or_default() += phase.seconds;
        }
        VerdictFile {
            cluster: Some(self.name().to_owned()),
            boot: Some(self.boot_id().as_str().to_owned()),
            versions: self.versions().by_part(),
            phases,
            ..verdict::for_this_test(Verdict::Failed)
        }
    }

    async fn open(&self) -> Result<Case<'_>> {
        let place = self.enter().await?;
        let name = format!("case-{}", random::hex(4));
        let subject = self.subject().open_case(&name);
        if let Err(error) = tokio::try_join!(self.remove_failed(), self.make_namespace(&name)) {
            subject.close_case();
            return Err(error);
        }
        subject.note_step(format!("test: begins in namespace {name}"));
        Ok(Case {
            cluster: self,
            outside: Outside::of(&name),
            namespace: name,
            subject,
            _place: place,
            observed: RefCell::default(),
            failure_after: Cell::default(),
            requested_evidence: RefCell::default(),
            kubeconfigs: RefCell::default(),
            webhooks: Webhooks::default(),
        })
    }
}

/// Collects evidence of a failure before anything is removed.
async fn keep_evidence(subject: &Subject, record: &mut VerdictFile, reason: &'static str) {
    let message = record.message.clone().unwrap_or_default();
    subject.note_failure(false, format!("{reason}: {message}"));
    let why = Occasion {
        reason,
        message,
        expected: record.expected.clone(),
        observed: record.observed.clone(),
    };
    if let Some(kept) = evidence::keep(subject, &why).await {
        progress!("{kept}");
        record.evidence = Some(kept.folder);
    }
}

impl Case<'_> {
    /// Removes the namespace and what the case has made outside it, without waiting for their end.
    /// On a cluster that stays, the namespace of a failed test stays too. Errors are only logged,
    /// because they must not hide the test's failure.
    async fn close(&self, verdict: &Verdict) {
        self.remember_secrets().await;
        for error in self.outside.remove(&self.client()).await {
            tracing::warn!("{}", error.report());
        }
        let closed = match verdict {
            Verdict::Failed if self.cluster.is_shared() => self.leave_namespace().await,
            _ => self.cluster.remove_namespace(&self.namespace).await,
        };
        if let Err(error) = closed {
            tracing::debug!("{}", error.report());
        }
        // Only now, when the API server has been told to call them no longer.
        self.webhooks.end();
        self.subject.close_case();
    }

    /// Remembers the values of the namespace's Secrets, to redact them from logs that outlive it.
    async fn remember_secrets(&self) {
        let list = async {
            let api = self.api::<Secret>();
            api.list(&ListParams::default())
                .await
                .context("list Secrets")
        };
        let list: Result<ObjectList<Secret>> = wait::within("its Secrets", SECRETS, list).await;
        let secrets = list.map(|list| list.items).unwrap_or_default();
        let documents = secrets.iter().map(serde_json::to_value);
        let documents: Vec<_> = documents.filter_map(std::result::Result::ok).collect();
        evidence::hide(&documents);
    }
}
