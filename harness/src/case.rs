//! The life of one test: gate, namespace, body, quiet cleanup, verdict, re-raise.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Debug,
    panic::{AssertUnwindSafe, resume_unwind},
    thread,
    time::{Duration, Instant},
};

use futures::FutureExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Pod, Secret},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, ObjectList, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use kubenest_protocol::{Phase, Verdict, VerdictFile};
use tempfile::TempDir;

use crate::{Cluster, verdict};
use kubenest_base::{
    Context, Error, ErrorKind, Result, progress, settings::settings, wait, wait::Probe,
};
use kubenest_docker::Labels;
use kubenest_evidence as evidence;
use kubenest_evidence::{Kept, Subject, Why};
use kubenest_node::{node::Node, objects};

/// How long an API server may take to tell of a case's Secrets.
const SECRETS: Duration = Duration::from_secs(2);

/// A test's own corner of a cluster: a namespace, and what the test needs to say.
pub struct Case<'a> {
    cluster: &'a Cluster,
    namespace: String,
    /// What evidence of it is collected of.
    subject: Subject,
    seen: RefCell<Option<(String, String)>>,
    /// Seconds from the start of the boot to where the failure showed.
    shown: Cell<Option<f64>>,
    /// Where evidence is that the test asked for.
    asked: RefCell<Vec<TempDir>>,
}

impl Cluster {
    /// Runs one test: the health gate first, then the body in a namespace of its own.
    ///
    /// The images that were loaded have to stay: a body during which one disappears from a node
    /// is cancelled, and the error says what removed it.
    /// [`Images::release`](kubenest_images::Images::release) lets one go. What tests before this
    /// one, or a restart, did to what keeps them is put back before the gate: pins, and settings
    /// in the kubelets' configuration files.
    ///
    /// The namespace is removed afterwards, whether the body succeeded, failed or panicked.
    /// When `KUBENEST_VERDICTS` names a folder, a verdict is left there, which tells a
    /// broken set-up from a failed assertion.
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
    ///     .await
    /// # }
    /// ```
    pub async fn case(
        &self,
        body: impl AsyncFnOnce(&Case<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
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
        match &ended {
            Ok(Ok(())) => {
                record.verdict = Verdict::Passed;
                if settings().evidence_always {
                    keep(&case.subject, &mut record, "asked for").await;
                }
            }
            Ok(Err(error)) => {
                record.verdict = meaning(error);
                record.message = Some(format!("{error:#}"));
                keep(&case.subject, &mut record, reason(error)).await;
            }
            Err(panic) => {
                record.message = Some(evidence::words(panic.as_ref()));
                keep(&case.subject, &mut record, "panicked").await;
            }
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
    async fn guarded(
        &self,
        case: &Case<'_>,
        body: impl AsyncFnOnce(&Case<'_>) -> anyhow::Result<()>,
    ) -> thread::Result<anyhow::Result<()>> {
        // A body is a large future; test threads have small stacks.
        let body = AssertUnwindSafe(Box::pin(body(case))).catch_unwind();
        let ended = tokio::select! {
            ended = body => ended,
            lost = self.protection().watch(self.nodes()) => Ok(Err(lost.into())),
        };
        match ended {
            // Since the last look; nodes that do not answer may be what the test is about.
            Ok(Ok(())) => match self.protection().check(self.nodes()).await {
                Err(lost) if lost.kind() == ErrorKind::Refused => Ok(Err(lost.into())),
                _ => Ok(Ok(())),
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
            versions: verdict::known_versions(self.versions()),
            phases,
            ..verdict::of_this_test(Verdict::Failed)
        }
    }

    async fn open(&self) -> Result<Case<'_>> {
        self.restored_health().await?;
        self.protection().check(self.nodes()).await?;
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
        subject.did(format!("test: begins in namespace {name}"));
        Ok(Case {
            cluster: self,
            namespace: name,
            subject,
            seen: RefCell::default(),
            shown: Cell::default(),
            asked: RefCell::default(),
        })
    }
}

/// Keeps what the nodes say of a failure, before anything of it is removed.
async fn keep(subject: &Subject, record: &mut VerdictFile, reason: &'static str) {
    let message = record.message.clone().unwrap_or_default();
    subject.failed(false, format!("{reason}: {message}"));
    let why = Why {
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

impl<'a> Case<'a> {
    /// The cluster it runs in.
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

    /// The namespace of its own.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Objects of one kind in its namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// Makes an object in its namespace.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn create<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let name = object.meta().name.clone().unwrap_or_default();
        self.step(format!("create {kind} {name}"));
        if kind == "Secret" {
            evidence::hide(&serde_json::to_value(object));
        }
        objects::create(&self.client(), &self.namespace, object).await
    }

    /// Waits until a pod of its namespace is Ready.
    ///
    /// # Errors
    /// The pod ended, or is not Ready in time: the error has its state.
    pub async fn pod_ready(&self, name: &str, deadline: Duration) -> Result<Pod> {
        self.step(format!("wait for pod {name}"));
        let ready = objects::pod_ready(&self.client(), &self.namespace, name, deadline).await;
        self.ended(&format!("pod {name} is Ready"), &ready);
        ready
    }

    /// Waits for a condition; see [`wait::until`].
    ///
    /// # Errors
    /// The probe's own, or a timeout with what was seen last.
    pub async fn until<T, F: Future<Output = Probe<T>>>(
        &self,
        what: &str,
        deadline: Duration,
        probe: impl FnMut() -> F,
    ) -> Result<T> {
        self.step(format!("wait for {what}"));
        let seen = wait::until(what, deadline, probe).await;
        self.ended(&format!("saw {what}"), &seen);
        seen
    }

    /// Notes a step of the test, for the time line that is kept of a failure. Waiting and
    /// creating are noted without it.
    pub fn step(&self, what: impl AsRef<str>) {
        self.subject.did(format!("test: {}", what.as_ref()));
    }

    fn ended<T>(&self, well: &str, result: &Result<T>) {
        match result {
            Ok(_) => self.step(well),
            Err(error) => self.subject.failed(false, error.report()),
        }
    }

    /// Notes for the report what the test expects and what it saw; the test's own
    /// assertion decides.
    pub fn saw(&self, expected: impl Into<String>, observed: impl Into<String>) {
        self.seen.replace(Some((expected.into(), observed.into())));
    }

    /// Notes for the report that the documented failure shows itself now: how long after the
    /// boot began a test without the gate would have met it. The first call counts.
    pub fn shown(&self) {
        let after = self.cluster.started().elapsed().as_secs_f64();
        self.shown.set(Some(self.shown.get().unwrap_or(after)));
    }

    /// Collects what there is of the case now, with what it [saw](Case::saw), as is done when it
    /// fails: for a test of a failure that has to be understood from what it leaves.
    ///
    /// It stays if the case fails, beside the evidence of that, and is else removed with the
    /// case; [`Cluster::evidence`] writes what stays anyway.
    ///
    /// # Errors
    /// It cannot be written.
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
    pub async fn evidence(&self) -> Result<Kept> {
        let home = evidence::aside()?;
        let (expected, observed) = self.seen.borrow().clone().unzip();
        let why = Why {
            expected,
            observed,
            ..Why::asked_for()
        };
        let kept = evidence::of_subject(&self.subject, &why, Some(home.path())).await;
        self.asked.borrow_mut().push(home);
        kept
    }

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

/// Only an assertion fails a test: a panic, a condition that did not come true, a refusal.
/// Every other error kept the test from its question.
fn meaning(error: &anyhow::Error) -> Verdict {
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::Timeout | ErrorKind::Refused) => Verdict::Failed,
        _ => Verdict::Setup,
    }
}

/// Why evidence of it is kept.
fn reason(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::Timeout) => "timed out",
        _ => "test failed",
    }
}
