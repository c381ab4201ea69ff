//! Creates Kubernetes objects, and watches them until a condition holds.
//!
//! An API server that refuses what a test asked has answered the test, so this error counts as the
//! test's own. A missing answer does not.

mod account;
mod apply;
mod container;
mod exec;
mod manifest;
mod object_ref;
mod outside;
mod scope;
mod state;
mod words;

use std::{error::Error as StdError, fmt::Debug, time::Duration};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    api::PostParams,
    core::Status,
    runtime::{WatchStreamExt, wait::Condition, watcher},
};
use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    account::create_account,
    apply::{MANAGER, apply},
    container::ContainerRef,
    exec::exec,
    manifest::{Manifest, Manifests},
    object_ref::ObjectRef,
    outside::{CASE, Outside},
    scope::Scope,
    state::state,
    words::event_line,
};
use kubenest_base::{
    Context, Error, Result,
    wait::{self, Deadline, Probe},
};

/// How long an API server may take for one answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Waits for one answer of an API server.
///
/// # Errors
/// The API server refuses, or does not answer in time.
pub fn answer<T>(
    what: impl Fn() -> String,
    answer: impl Future<Output = kube::Result<T>>,
) -> impl Future<Output = Result<T>> {
    let answer = async move { answer.await.map_err(plain).with_context(what) };
    wait::within("the API server's answer", ANSWER, answer)
}

/// The cause without the words of kube's client, which shows a refusal three times.
fn plain(error: kube::Error) -> Box<dyn StdError + Send + Sync> {
    match error {
        kube::Error::Api(status) => status,
        other => other.into(),
    }
}

/// As [`answer`]; a refusal is the test's failure.
///
/// # Errors
/// The API server refuses, or does not answer in time.
pub async fn answered<T>(
    what: impl Fn() -> String,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    answer(what, asked)
        .await
        .map_err(|error| match is_answer(&error) {
            true => error.asserted(),
            false => error,
        })
}

/// The nearest cause of this type in the chain of an error.
fn cause<T: StdError + 'static>(error: &Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The HTTP status code with which the API server refused.
fn refusal(error: &Error) -> Option<u16> {
    cause::<Status>(error).map(|status| status.code)
}

/// Watches one object until `look` is ready; `look` gets `None` while the object does not exist.
///
/// # Errors
/// The error of `look`, or a timeout that names `what` and what was seen last. The timeout is the
/// test's failure unless the API server's last answer is missing.
pub async fn until<K, T>(
    api: Api<K>,
    name: &str,
    what: &str,
    deadline: Duration,
    mut look: impl FnMut(Option<&K>) -> Probe<T>,
) -> Result<T>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let deadline = Deadline::begin(deadline);
    let (mut last, mut answered) = ("nothing".to_owned(), false);
    let watched = async {
        let mut changes = Box::pin(watcher::watch_object(api, name).default_backoff());
        while let Some(change) = changes.next().await {
            match change {
                Ok(object) => match look(object.as_ref()) {
                    Probe::Ready(value) => return Ok(value),
                    Probe::Pending(seen) => (last, answered) = (seen, true),
                    Probe::Failed(error) => return Err(error),
                },
                // The watch continues after an error, since the API server may be restarting.
                Err(error) => (last, answered) = (error.to_string(), is_answer(&error)),
            }
        }
        Err(Error::setup(format!("the watch of {what} ended")))
    };
    match deadline.give(watched).await {
        Some(result) => result,
        None if answered => Err(deadline.missed(what, &last).asserted()),
        None => Err(deadline.missed(what, &last)),
    }
}

/// Whether an error is an answer of the API server, and not a missing answer.
fn is_answer(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let refused = matches!(error.downcast_ref(), Some(kube::Error::Api(_)));
        if refused
            || error.is::<Status>()
            || matches!(error.downcast_ref(), Some(watcher::Error::WatchError(_)))
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Creates an object in a namespace.
///
/// # Errors
/// The API server refuses it, which is the test's failure, or does not answer.
pub async fn create<K>(client: &Client, namespace: &str, object: &K) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let name = object.meta().name.clone().unwrap_or_default();
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let params = PostParams::default();
    let created = api.create(&params, object);
    answered(|| format!("create {kind} '{namespace}/{name}'"), created).await
}

/// Watches an object of this kind until a condition of kube holds, and returns the object, or `None`
/// if the condition holds without one.
///
/// # Errors
/// A timeout with the object's [`state()`], which is the test's failure unless the API server does
/// not answer.
pub async fn wait<K>(
    api: Api<K>,
    name: &str,
    what: &str,
    condition: impl Condition<K>,
    deadline: Duration,
) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    until(api, name, what, deadline, |object| {
        if condition.matches_object(object) {
            return Probe::Ready(object.cloned());
        }
        Probe::Pending(match object.map(serde_json::to_value) {
            Some(Ok(object)) => state(&object),
            Some(Err(error)) => error.to_string(),
            None => "there is none of this name".to_owned(),
        })
    })
    .await
}

/// Waits until a namespace has its service account `default`, which pods need.
///
/// # Errors
/// The service account does not appear in time.
pub async fn default_service_account(
    client: &Client,
    namespace: &str,
    deadline: Duration,
) -> Result<()> {
    use k8s_openapi::api::core::v1::ServiceAccount;
    let api = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let what = format!("service account '{namespace}/default'");
    until(api, "default", &what, deadline, |account| {
        Probe::from_option(account.map(|_| ()), || "none".into())
    })
    .await
}

/// Waits until a pod is Ready.
///
/// # Errors
/// The pod has ended or is not Ready in time. The error has the pod's state, and is the test's
/// failure unless the API server did not answer.
pub async fn pod_ready(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Duration,
) -> Result<k8s_openapi::api::core::v1::Pod> {
    use k8s_openapi::api::core::v1::Pod;
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let what = format!("pod '{namespace}/{name}' to be Ready");
    until(api, name, &what, deadline, |pod| {
        let Some(pod) = pod else {
            return Probe::Pending("no such pod".into());
        };
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.as_deref().unwrap_or_default();
        if conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
        {
            return Probe::Ready(pod.clone());
        }
        if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
            return Probe::never(format!("pod '{name}' ended: {}", seen(pod)));
        }
        Probe::Pending(seen(pod))
    })
    .await
}

/// The state of a pod in one line: its phase, and why each container does not run.
pub fn seen(pod: &k8s_openapi::api::core::v1::Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let mut text = format!("phase {}", status.phase.as_deref().unwrap_or("-"));
    for condition in status.conditions.unwrap_or_default() {
        if condition.status != "True"
            && let Some(reason) = &condition.reason
        {
            text.push_str(&format!(", {} {reason}", condition.type_));
            if let Some(message) = condition.message {
                text.push_str(&format!(" ({message})"));
            }
        }
    }
    for container in status.container_statuses.unwrap_or_default() {
        let state = container.state.unwrap_or_default();
        if let Some(waiting) = state.waiting {
            text.push_str(&format!(
                "; {} waits: {} {}",
                container.name,
                waiting.reason.unwrap_or_default(),
                waiting.message.unwrap_or_default()
            ));
        }
        if let Some(ended) = state.terminated {
            text.push_str(&format!(
                "; {} ended with {}",
                container.name, ended.exit_code
            ));
        }
    }
    text
}

/// Waits until an object is gone.
///
/// # Errors
/// The object still exists at the deadline, which is the test's failure; or the API server did not
/// answer.
pub async fn gone<K>(api: Api<K>, name: &str, deadline: Duration) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let what = format!("'{name}' to be gone");
    let none = |object: Option<&K>| object.is_none();
    wait(api, name, &what, none, deadline).await.map(drop)
}
