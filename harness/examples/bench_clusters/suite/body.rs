//! What a test of an operator does, through kube alone.

use std::time::{Duration, Instant};

use ::kubenest::{
    k8s_openapi::api::core::v1::{ConfigMap, Pod},
    kube::{
        Api, Client,
        api::{DeleteParams, LogParams, Patch, PatchParams},
        runtime::wait::{Condition, await_condition},
    },
};
use anyhow::{Context, Result, bail};
use futures::{AsyncBufReadExt, TryStreamExt};
use kubenest_base::wait;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How long a pod may take.
const LIMIT: Duration = Duration::from_secs(120);
/// An image that every node of the benchmark has, and whose program writes a log.
const IMAGE: &str = "registry.k8s.io/coredns/coredns:v1.11.3";
/// What it writes.
const LOG: &str = "CoreDNS-";

/// A test of this number.
pub(super) struct Body(usize);

impl Body {
    pub(super) fn new(number: usize) -> Self {
        Self(number)
    }

    /// Applies objects, waits for a pod, reads its log, and deletes them. Returns the seconds that
    /// took.
    pub(super) async fn run(&self, client: &Client, namespace: &str) -> Result<f64> {
        let begin = Instant::now();
        let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        apply(&maps, "settings", self.settings()).await?;
        apply(&pods, "server", self.server()).await?;
        let ready = await_condition(pods.clone(), "server", IsReady);
        wait::at_most(LIMIT, ready)
            .await
            .context("the pod is not ready")??;
        read_log(&pods).await?;
        let at_once = DeleteParams::default().grace_period(0);
        pods.delete("server", &at_once).await?;
        maps.delete("settings", &DeleteParams::default()).await?;
        Ok(begin.elapsed().as_secs_f64())
    }

    fn settings(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings"},
            "data": {"NUMBER": self.0.to_string()},
        })
    }

    fn server(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "server"},
            "spec": {"containers": [{
                "name": "server",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "args": ["-dns.port=1053"],
                "envFrom": [{"configMapRef": {"name": "settings"}}],
            }]},
        })
    }
}

/// Reads the log until the program has said its name.
async fn read_log(pods: &Api<Pod>) -> Result<()> {
    let follow = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let mut lines = pods.log_stream("server", &follow).await?.lines();
    while let Some(line) = lines.try_next().await? {
        if line.contains(LOG) {
            return Ok(());
        }
    }
    bail!("its log ended without '{LOG}'")
}

async fn apply<K>(api: &Api<K>, name: &str, object: Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let params = PatchParams::apply("bench").force();
    api.patch(name, &params, &Patch::Apply(object)).await?;
    Ok(())
}

/// Whether a pod is ready.
struct IsReady;

impl Condition<Pod> for IsReady {
    fn matches_object(&self, pod: Option<&Pod>) -> bool {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}
