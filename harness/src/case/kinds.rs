//! The verbs of a case for objects of one kind, whose type the test has.

use std::{borrow::Cow, fmt::Debug, time::Duration};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, Pod},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::Selector,
    runtime::wait::Condition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Case;
use crate::wait::Probe;
use kubenest_base::{Error, ErrorKind, Result};
use kubenest_evidence as evidence;
use kubenest_node::objects::{self, MANAGER, Scope};

impl Case<'_> {
    /// Objects of one kind: those in the case's namespace, or those of the whole cluster if the
    /// kind has no namespaces.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource,
        K::Scope: Scope,
        K::DynamicType: Default,
    {
        K::Scope::api(self.client(), self.namespace())
    }

    /// Creates an object in the case's namespace; or one of the whole cluster, which is the case's
    /// own and removed with it, as [`apply`](Case::apply) says.
    ///
    /// # Errors
    /// The API server refuses the object, or another case that still runs has made one of the same
    /// name for the whole cluster: failures of the test. Or the API server does not answer, which
    /// is none.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use kubenest::k8s_openapi::api::rbac::v1::ClusterRole;
    ///
    /// let mut role = ClusterRole::default();
    /// role.metadata.name = Some(format!("reader-{}", case.namespace()));
    /// case.create(&role).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create<K>(&self, object: &K) -> Result<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Serialize,
        K::Scope: Scope,
        K::DynamicType: Default,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        self.note_step(format!("create {} {name}", kind::<K>()));
        if kind::<K>() == "Secret" {
            evidence::hide(&serde_json::to_value(object));
        }
        let (client, namespace) = (self.client(), self.namespace());
        K::Scope::create(client, namespace, &self.outside, object).await
    }

    /// The object of this kind and name.
    ///
    /// # Errors
    /// There is none, which is a failure of the test; or the API server does not answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use kubenest::k8s_openapi::api::core::v1::{ConfigMap, Node};
    ///
    /// let colours: ConfigMap = case.get("colours").await?;
    /// let node: Node = case.get(case.node().name()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get<K>(&self, name: &str) -> Result<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
        K::Scope: Scope,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        objects::answered(|| format!("get {} '{name}'", kind::<K>()), api.get(name)).await
    }

    /// Changes an object by a patch. Server-side apply has the field manager `kubenest`.
    ///
    /// # Errors
    /// There is no such object, or the API server refuses the patch: failures of the test. Or the
    /// API server does not answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use kubenest::{k8s_openapi::api::apps::v1::Deployment, kube::api::Patch};
    /// use serde_json::json;
    ///
    /// let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
    /// case.patch::<Deployment>("web", &two).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn patch<K>(&self, name: &str, patch: &Patch<impl Serialize + Debug>) -> Result<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
        K::Scope: Scope,
        K::DynamicType: Default,
    {
        self.note_step(format!("patch {} {name}", kind::<K>()));
        let params = match patch {
            Patch::Apply(_) => PatchParams::apply(MANAGER),
            _ => PatchParams::default(),
        };
        let api = self.api::<K>();
        let patched = api.patch(name, &params, patch);
        objects::answered(|| format!("patch {} '{name}'", kind::<K>()), patched).await
    }

    /// Deletes an object, without waiting for its end; [`gone`](Case::gone) waits.
    ///
    /// # Errors
    /// There is no such object, which is a failure of the test; or the API server does not answer.
    pub async fn delete<K>(&self, name: &str) -> Result<()>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
        K::Scope: Scope,
        K::DynamicType: Default,
    {
        self.note_step(format!("delete {} {name}", kind::<K>()));
        let (api, params) = (self.api::<K>(), DeleteParams::default());
        let deleted = api.delete(name, &params);
        objects::answered(|| format!("delete {} '{name}'", kind::<K>()), deleted).await?;
        Ok(())
    }

    /// Waits until there is no object of this name.
    ///
    /// # Errors
    /// It is still there at the deadline: the error says what holds it, and is a failure of the
    /// test. Or the API server does not answer.
    pub async fn gone<K>(&self, name: &str, deadline: Duration) -> Result<()>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
        K::Scope: Scope,
        K::DynamicType: Default,
    {
        let what = format!("{} '{name}' to be gone", kind::<K>());
        let none = |object: Option<&K>| object.is_none();
        self.wait_named(name, &what, none, deadline).await?;
        Ok(())
    }

    /// Waits until a condition of kube holds for the object of this name, and returns the object, or
    /// `None` if the condition holds without one. The conditions are those of
    /// [`kube::runtime::wait::conditions`], and any function of `Option<&K>`.
    ///
    /// # Errors
    /// The condition does not hold at the deadline: the error has the object's last state in words,
    /// and is a failure of the test. Or the API server does not answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use std::time::Duration;
    /// use kubenest::{
    ///     k8s_openapi::api::core::v1::ConfigMap,
    ///     kube::runtime::wait::conditions::is_job_completed,
    /// };
    ///
    /// let minute = Duration::from_secs(60);
    /// case.wait("migration", is_job_completed(), minute).await?;
    /// let is_blue = |map: Option<&ConfigMap>| {
    ///     map.and_then(|map| map.data.as_ref()?.get("sky")).is_some_and(|sky| sky == "blue")
    /// };
    /// case.wait("colours", is_blue, minute).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait<K>(
        &self,
        name: &str,
        condition: impl Condition<K>,
        deadline: Duration,
    ) -> Result<Option<K>>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
        K::Scope: Scope,
        K::DynamicType: Default,
    {
        let what = format!("{} '{name}' to be as the test expects", kind::<K>());
        self.wait_named(name, &what, condition, deadline).await
    }

    async fn wait_named<K>(
        &self,
        name: &str,
        what: &str,
        condition: impl Condition<K>,
        deadline: Duration,
    ) -> Result<Option<K>>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
        K::Scope: Scope,
        K::DynamicType: Default,
    {
        self.note_step(format!("wait for {what}"));
        let waited = objects::wait(self.api::<K>(), name, what, condition, deadline).await;
        self.note_result(&format!("saw {what}"), &waited);
        waited
    }

    /// Waits until a pod in the case's namespace is Ready.
    ///
    /// # Errors
    /// The pod ended, or is not Ready in time: the error has its state, and is a failure of the
    /// test. Or the API server does not answer, which is not.
    pub async fn pod_ready(&self, name: &str, deadline: Duration) -> Result<Pod> {
        self.note_step(format!("wait for pod {name}"));
        let ready = objects::pod_ready(&self.client(), self.namespace(), name, deadline).await;
        self.note_result(&format!("pod {name} is Ready"), &ready);
        ready
    }

    /// Waits until all replicas of a Deployment are those of its latest template, and available.
    ///
    /// # Errors
    /// Its progress deadline passes, or they are not available in time: the error has the state of
    /// the Deployment and of its pods, and is a failure of the test. Or the API server does not
    /// answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// case.apply(std::path::Path::new("deploy")).await?;
    /// case.deployment_available("web", std::time::Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn deployment_available(&self, name: &str, deadline: Duration) -> Result<Deployment> {
        let what = format!("Deployment '{name}' to be available");
        self.note_step(format!("wait for {what}"));
        let mut selector = None;
        let waited = objects::until(
            self.api(),
            name,
            &what,
            deadline,
            |found: Option<&Deployment>| {
                let Some(found) = found else {
                    return Probe::Pending("there is none of this name".into());
                };
                // Looked at as JSON, because whether a spec is optional depends on the release of
                // Kubernetes that the user has chosen for k8s-openapi.
                let object = serde_json::to_value(found).unwrap_or_default();
                let labels = object["spec"]["selector"].clone();
                selector = serde_json::from_value::<LabelSelector>(labels).ok();
                let seen = objects::state(&object);
                match progress(&object) {
                    Progress::Available => Probe::Ready(found.clone()),
                    Progress::Under => Probe::Pending(seen),
                    Progress::Failed => {
                        Probe::never(format!("{what}: it makes no progress: {seen}"))
                    }
                }
            },
        );
        let waited = match waited.await {
            Err(error) => {
                let selector = selector.and_then(|selector| selector.try_into().ok());
                Err(self.with_pods(error, selector.unwrap_or_default()).await)
            }
            available => available,
        };
        self.note_result(&format!("saw {what}"), &waited);
        waited
    }

    /// Adds the state of the selected pods to an error.
    async fn with_pods(&self, error: Error, selector: Selector) -> Error {
        let is_of_test = error.kind() == ErrorKind::Timeout || error.kind() == ErrorKind::Setup;
        if !is_of_test || selector.selects_all() {
            return error;
        }
        let (api, params) = (
            self.api::<Pod>(),
            ListParams::default().labels_from(&selector),
        );
        let listed = objects::answer(|| "list its pods".into(), api.list(&params));
        let Ok(pods) = listed.await else {
            return error;
        };
        let state = |pod: &Pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            format!("pod {name}: {}", objects::seen(pod))
        };
        let states: Vec<_> = pods.items.iter().map(state).collect();
        match states.is_empty() {
            true => error.note("it has no pods"),
            false => error.note(states.join("\n")),
        }
    }

    /// The events of the case's namespace as text, a line each, the oldest first: time, type,
    /// reason, object and message.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn events(&self) -> Result<String> {
        let (api, params) = (self.api::<Event>(), ListParams::default());
        let listed = objects::answer(|| "list the events".into(), api.list(&params)).await?;
        let mut lines: Vec<_> = listed.items.iter().map(objects::event_line).collect();
        lines.sort();
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }
}

enum Progress {
    Available,
    Under,
    /// The controller has given up.
    Failed,
}

fn progress(deployment: &Value) -> Progress {
    let status = &deployment["status"];
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    if status["observedGeneration"].as_i64() < deployment["metadata"]["generation"].as_i64() {
        return Progress::Under;
    }
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    if conditions.any(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return Progress::Failed;
    }
    let counts = ["replicas", "updatedReplicas", "availableReplicas"].map(|key| &status[key]);
    match counts
        .iter()
        .all(|count| count.as_i64().unwrap_or(0) == wanted)
    {
        true => Progress::Available,
        false => Progress::Under,
    }
}

/// The name of a kind.
fn kind<K: Resource>() -> Cow<'static, str>
where
    K::DynamicType: Default,
{
    Cow::Owned(K::kind(&K::DynamicType::default()).into_owned())
}
