//! Admission webhooks that the test process serves.

mod certificate;
mod configuration;
mod server;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DynamicObject, PostParams},
    core::admission::{AdmissionRequest, AdmissionResponse},
};

use self::{
    certificate::Certificate,
    configuration::{Endpoint, PROBE},
    server::Server,
};
use super::Case;
use crate::wait::Probe;
use kubenest_base::{
    Error, Result,
    background::{self, Working},
    wait,
};
use kubenest_node::objects::{self, Manifests};

/// How long the API server may take to call webhooks after it has got their configuration.
const CALLED: Duration = Duration::from_secs(60);
/// The longest pause between two looks for that.
const PAUSE: Duration = Duration::from_millis(50);

/// The webhooks of a case.
#[derive(Default)]
pub(super) struct Webhooks {
    serving: Mutex<Vec<Working>>,
    events: Arc<Mutex<Events>>,
}

/// What has happened at the webhooks of a case.
#[derive(Default)]
struct Events {
    /// The configurations of which the API server has called a webhook, by number.
    called: BTreeSet<usize>,
    /// The number of configurations.
    configurations: usize,
    /// The message of the first handler that panicked.
    panicked: Option<String>,
}

impl Case<'_> {
    /// Serves admission webhooks from this process: the API server asks `handler` what to answer,
    /// until the case ends. They are called from the moment in which this returns.
    ///
    /// The manifests are those of ValidatingWebhookConfigurations and
    /// MutatingWebhookConfigurations, such as an operator has them. They are applied as
    /// [`apply`](Case::apply) does it, with these changes:
    ///
    /// - `clientConfig` leads to this process, with a certificate of its own. Of the given one only
    ///   the path remains. Nothing listens on this machine: the API server connects to its own
    ///   node's 127.0.0.1, and the engine may be elsewhere.
    /// - Without a `namespaceSelector`, only objects in the case's namespace are reviewed. Objects of
    ///   the whole cluster are reviewed whoever changes them, unless an `objectSelector` says less.
    /// - `admissionReviewVersions` and `sideEffects` may be left out: they become `[v1]` and `None`.
    /// - The case's namespace is added to the name, so that tests side by side do not fight over it.
    /// - Each gets one more webhook, by which is seen that the API server has begun to call it.
    ///
    /// All webhooks of one call have one handler; another call has another.
    ///
    /// The handler runs on a thread that must not be blocked. If it panics, the request is refused
    /// with the panic's message, and the case fails: an assertion in a handler counts. After the
    /// body the configurations are removed before the handler ends, so that no request waits for it.
    ///
    /// # Errors
    /// A manifest is of another kind, or the API server refuses it: failures of the test. Or the node
    /// or the API server does not answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use kubenest::kube::core::admission::AdmissionResponse;
    ///
    /// let configuration = "
    ///     apiVersion: admissionregistration.k8s.io/v1
    ///     kind: ValidatingWebhookConfiguration
    ///     metadata: {name: no-grey}
    ///     webhooks:
    ///     - name: no-grey.example.com
    ///       rules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
    ///     ";
    /// case.webhook(configuration, async |request| {
    ///     let response = AdmissionResponse::from(&request);
    ///     match request.name.as_str() {
    ///         "grey" => response.deny("grey is no colour"),
    ///         _ => response,
    ///     }
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A mutating one adds a JSON patch: `response.with_patch(serde_json::from_value(json!([{"op":
    /// "add", "path": "/metadata/labels", "value": {"reviewed": "yes"}}]))?)`.
    pub async fn webhook<F>(
        &self,
        configurations: impl Into<Manifests>,
        handler: impl Fn(AdmissionRequest<DynamicObject>) -> F + Send + Sync + 'static,
    ) -> Result<()>
    where
        F: Future<Output = AdmissionResponse> + Send + 'static,
    {
        let manifests = configurations.into();
        self.note_step(format!("serve the webhooks of {manifests}"));
        let served = self.serve(&manifests, handler).await;
        self.note_result("the API server calls them", &served);
        served
    }

    async fn serve<F>(
        &self,
        manifests: &Manifests,
        handler: impl Fn(AdmissionRequest<DynamicObject>) -> F + Send + Sync + 'static,
    ) -> Result<()>
    where
        F: Future<Output = AdmissionResponse> + Send + 'static,
    {
        let manifests = manifests.read()?;
        let first = self.webhooks.add(manifests.len());
        let events = self.webhooks.events.clone();
        let node = self.node().clone();
        // In the background, because a test that blocks its own runtime would block the API server.
        let (server, certificate) = background::run(async move {
            let certificate = Certificate::make(&node).await?;
            let server = Server::open(&node, &certificate).await?;
            Result::Ok((server, certificate))
        })
        .await?;
        let endpoint = Endpoint {
            namespace: self.namespace(),
            port: server.port(),
            authority: &certificate.pem,
        };
        let objects = manifests.iter().zip(first..);
        let objects =
            objects.map(|(manifest, number)| endpoint.complete(manifest.object(), number));
        let objects = objects.collect::<Result<Vec<_>>>()?;
        let serving = background::keep(server.serve(handler, events));
        self.webhooks.hold(serving);
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let objects = Manifests::from(list).read()?;
        let outside = Some(&self.outside);
        objects::apply(&self.client(), self.namespace(), outside, &objects).await?;
        let own = first..first + manifests.len();
        self.wait_until_called(own.collect()).await
    }

    /// Waits until the API server calls the webhooks of these configurations. It learns of a
    /// configuration a moment after it has accepted it, and lets requests pass until then.
    async fn wait_until_called(&self, configurations: BTreeSet<usize>) -> Result<()> {
        let mut lease = Lease::default();
        lease.metadata.name = Some("kubenest-probe".into());
        lease.metadata.labels = Some([(PROBE.to_owned(), String::new())].into());
        let api: Api<Lease> = self.api();
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        wait::until_with(
            PAUSE,
            "the API server to call the webhooks",
            CALLED,
            async || {
                let asked =
                    objects::answer(|| "ask for a review".into(), api.create(&params, &lease));
                let asked = asked.await;
                if self.webhooks.have_been_called(&configurations) {
                    return Probe::Ready(());
                }
                Probe::Pending(match asked {
                    Ok(_) => "it did not call all of them".to_owned(),
                    Err(error) => error.report(),
                })
            },
        )
        .await
    }
}

impl Webhooks {
    /// Adds configurations, and returns the number of the first.
    fn add(&self, count: usize) -> usize {
        let mut events = lock(&self.events);
        let first = events.configurations;
        events.configurations += count;
        first
    }

    fn hold(&self, serving: Working) {
        lock(&self.serving).push(serving);
    }

    fn have_been_called(&self, configurations: &BTreeSet<usize>) -> bool {
        lock(&self.events).called.is_superset(configurations)
    }

    /// The failure of the test in which a handler has panicked.
    pub(super) fn check(&self) -> Result<()> {
        match &lock(&self.events).panicked {
            None => Ok(()),
            Some(message) => Err(panic_error(message).asserted()),
        }
    }

    /// Ends all servers. Their configurations have to be gone.
    pub(super) fn end(&self) {
        lock(&self.serving).clear();
    }
}

fn panic_error(message: &str) -> Error {
    Error::setup(format!("the handler of a webhook panicked: {message}"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
