//! The life of one test: gate, namespace, body, quiet cleanup, verdict, re-raise.

mod gate;
mod outcome;
mod verbs;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic::{AssertUnwindSafe, resume_unwind},
    thread,
    time::{Duration, Instant},
};

use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectList, PostParams},
};
use kubenest_protocol::{Phase, Verdict, VerdictFile};
use tempfile::TempDir;

use self::gate::Place;
pub(crate) use self::gate::Running;
use crate::{Cluster, verdict};
use kubenest_base::{Context, ErrorKind, Result, progress, settings::settings, wait};
use kubenest_docker::Labels;
use kubenest_evidence as evidence;
use kubenest_evidence::{Occasion, Subject};
use kubenest_node::objects;

/// How long an API server may take to tell of a case's Secrets.
const SECRETS: Duration = Duration::from_secs(2);

/// A test's own corner of a cluster: a namespace, and what the test needs to say.
pub struct Case<'a> {
    cluster: &'a Cluster,
    namespace: String,
    /// What evidence of it is collected of.
    subject: Subject,
    /// It is counted among those that run as long as it is there.
    _place: Place<'a>,
    seen: RefCell<Option<(String, String)>>,
    /// Seconds from the start of the boot to where the failure showed.
    shown: Cell<Option<f64>>,
    /// Where evidence is that the test asked for.
    asked: RefCell<Vec<TempDir>>,
}

impl Cluster {
    /// Runs one test: the health gate first, then the body in a namespace of its own. Returns
    /// what the body returns.
    ///
    /// The images that were loaded have to stay: a body during which one disappears from a node
    /// is cancelled, and the error says what removed it.
    /// [`Images::release`](kubenest_images::Images::release) lets one go. What tests before this
    /// one, or a restart, did to what keeps them is put back before the gate: pins, and settings
    /// in the kubelets' configuration files.
    ///
    /// The namespace is removed afterwards, whether the body succeeded, failed or panicked.
    ///
    /// # Red or broken
    /// When `KUBENEST_VERDICTS` names a folder, a verdict is left there. It tells a test that
    /// failed (`cargo xtask e2e` ends with 100) from one that was broken (105), by whose error
    /// ended it:
    ///
    /// - Failed is what the body itself says: a panic, `anyhow::ensure!` and `bail!`, an error of
    ///   [`client()`](Case::client) or of any other library. Of kubenest's errors, those that
    ///   answer a question of the test are its own, too: a wait for a condition of the test that
    ///   did not come true, a pod that ended, an object that the API server refused, a loaded
    ///   image that is gone.
    /// - Broken is what kubenest could not do: a gate that refuses, an engine, a containerd or an
    ///   API server that does not answer, a command that cannot be run in a node, an image that
    ///   cannot be loaded. Such an [`Error`](crate::Error) stays what it is when the body hands
    ///   it on with `?`, also below added context or as the cause of another.
    ///
    /// # Several at once
    /// Cases may run at once on one cluster, each with its namespace, its verdict and its
    /// evidence. Only the first puts anything back before its gate. One that begins beside others
    /// only looks; if a node is not healthy then, it waits until it is alone, and is refused if
    /// that takes longer than five minutes. A loaded image that disappears ends all of them.
    ///
    /// # Errors
    /// The body's own, or what kept it from being run.
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
                record.verdict = Verdict::Setup;
                record.message = Some(error.report());
                keep(self.subject(), &mut record, "gate refused").await;
                verdict::leave(&record);
                return Err(error.into());
            }
        };
        record
            .phases
            .insert(Phase::Gate, begin.elapsed().as_secs_f64());

        let begin = Instant::now();
        let ended = self.guarded(&case, body).await;
        record
            .phases
            .insert(Phase::Body, begin.elapsed().as_secs_f64());
        if let Some((expected, observed)) = case.seen.take() {
            (record.expected, record.observed) = (Some(expected), Some(observed));
        }
        let shown = case.shown.get().map(|after| (Phase::Shown, after));
        record.phases.extend(shown);
        let kept_for = match &ended {
            Ok(Ok(_)) => {
                record.verdict = Verdict::Passed;
                settings().evidence_always.then_some("asked for")
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
            keep(&case.subject, &mut record, reason).await;
        }
        if record.verdict != Verdict::Passed {
            case.asked
                .take()
                .into_iter()
                .for_each(|folder| drop(folder.keep()));
        }
        let begin = Instant::now();
        case.close().await;
        record
            .phases
            .insert(Phase::Cleanup, begin.elapsed().as_secs_f64());

        verdict::leave(&record);
        match ended {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs the body to its end, or until a protected image is gone from a node.
    async fn guarded<T>(
        &self,
        case: &Case<'_>,
        body: impl AsyncFnOnce(&Case<'_>) -> anyhow::Result<T>,
    ) -> thread::Result<anyhow::Result<T>> {
        // A body is a large future; test threads have small stacks.
        let body = AssertUnwindSafe(Box::pin(body(case))).catch_unwind();
        let ended = tokio::select! {
            ended = body => ended,
            lost = self.protection().watch(self.nodes()) => Ok(Err(lost.asserted().into())),
        };
        match ended {
            // Since the last look; nodes that do not answer may be what the test is about.
            Ok(Ok(value)) => match self.protection().check(self.nodes()).await {
                Err(lost) if lost.kind() == ErrorKind::Refused => Ok(Err(lost.asserted().into())),
                _ => Ok(Ok(value)),
            },
            ended => ended,
        }
    }

    /// What is known before the body has run; a failure until it has ended well.
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
            ..verdict::of_this_test(Verdict::Failed)
        }
    }

    async fn open(&self) -> Result<Case<'_>> {
        let place = self.enter().await?;
        let mut namespace = Namespace::default();
        namespace.metadata.generate_name = Some("case-".into());
        let labels = Labels::new("case").cluster(self.name()).map();
        namespace.metadata.labels = Some(labels.into_iter().filter(is_label).collect());
        let api = Api::<Namespace>::all(self.client());
        let (params, what) = (PostParams::default(), || {
            "create the case's namespace".to_owned()
        });
        let namespace = objects::answer(what, api.create(&params, &namespace)).await?;
        let name = namespace.metadata.name.unwrap_or_default();
        objects::default_service_account(&self.client(), &name, Duration::from_secs(60)).await?;
        let subject = self.subject().open_case(&name).await;
        subject.note_step(format!("test: begins in namespace {name}"));
        Ok(Case {
            cluster: self,
            namespace: name,
            subject,
            _place: place,
            seen: RefCell::default(),
            shown: Cell::default(),
            asked: RefCell::default(),
        })
    }
}

/// Keeps what the nodes say of a failure, before anything of it is removed.
async fn keep(subject: &Subject, record: &mut VerdictFile, reason: &'static str) {
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
    /// Removes the namespace. Trouble is only logged: it must not bury a failure.
    async fn close(&self) {
        self.remember_secrets().await;
        let api = Api::<Namespace>::all(self.client());
        let (params, what) = (DeleteParams::default(), || {
            format!("remove namespace '{}'", self.namespace)
        });
        if let Err(error) = objects::answer(what, api.delete(&self.namespace, &params)).await {
            tracing::debug!("{}", error.report());
        }
        self.subject.close_case().await;
    }

    /// Logs outlive the namespace; what its Secrets hold must not be shown of them either.
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

/// Kubernetes is stricter about labels than Docker: the owner's has slashes.
fn is_label((_, value): &(String, String)) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    value.len() <= 63 && value.bytes().all(fine)
}
