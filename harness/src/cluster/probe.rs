//! The proof that pods on a node can use the cluster's network.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, Event, Pod, PodSpec},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams},
};

use super::{SLOW, STEP};
use kubenest_base::{
    Error, Result,
    wait::{self, Probe},
};
use kubenest_docker::labels;
use kubenest_node::{node::Node, objects};

const NAMESPACE: &str = "default";

/// The reason of the event of a sandbox that could not be made.
const SANDBOX_FAILED: &str = "FailedCreatePodSandBox";
/// How often that may happen, and the pause between two looks.
const ATTEMPTS: i32 = 2;
const LOOK: Duration = Duration::from_secs(2);
const NO_SANDBOX: &str = "look at the node's CNI plugins (/opt/cni/bin) and their configuration \
    (/etc/cni/net.d): a mount or a node image may lack what the words above name";

/// This script runs with the pod's network and name servers but the node's programs, so that it
/// works with any image. It resolves a Service's name, then connects to the address.
const SCRIPT: &str = include_str!("probe.sh");

/// A pod that runs on a node, from which the network of the node's pods is proved.
pub(super) struct ProbePod<'a> {
    node: &'a Node,
    pod: Pod,
}

impl<'a> ProbePod<'a> {
    /// Starts the pod on this node.
    pub(super) async fn start(client: &Client, node: &'a Node) -> Result<Self> {
        let name = format!("kubenest-probe-{}", node.name());
        let pod = probe_pod(node, &name).await?;
        objects::create(client, NAMESPACE, &pod).await?;
        let pod = tokio::select! {
            ready = objects::pod_ready(client, NAMESPACE, &name, SLOW) => ready?,
            error = watch_sandbox(client, node, &name) => return Err(error),
        };
        Ok(Self { node, pod })
    }

    /// Proves that the pod resolves a Service's name and connects to it, then removes the pod.
    pub(super) async fn prove(&self, client: &Client) -> Result<()> {
        let proved = usable(self.node, &self.pod).await;
        let name = self.pod.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
        let at_once = DeleteParams::default().grace_period(0);
        let removed = api.delete(name, &at_once);
        objects::answer(|| format!("remove pod '{name}'"), removed).await?;
        proved
    }
}

/// Ends when a node has failed to make the pod's sandbox several times. A kubelet tries forever, and
/// an early attempt may be unlucky.
async fn watch_sandbox(client: &Client, node: &Node, pod: &str) -> Error {
    let events = Api::<Event>::namespaced(client.clone(), NAMESPACE);
    let failed = format!("involvedObject.name={pod},reason={SANDBOX_FAILED}");
    let failed = ListParams::default().fields(&failed);
    loop {
        wait::pace(LOOK).await;
        match events.list(&failed).await {
            Ok(events) => {
                if let Some(words) = repeated_failure(&events.items) {
                    let what = format!("node '{node}' cannot give a pod a network: {words}");
                    return Error::setup(what).cure(NO_SANDBOX);
                }
            }
            // Who waits for the pod tells that the API server does not answer.
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

/// The words of the last failure if there were several.
fn repeated_failure(events: &[Event]) -> Option<&str> {
    let attempts: i32 = events.iter().map(|event| event.count.unwrap_or(1)).sum();
    let last = events.last().filter(|_| attempts >= ATTEMPTS)?;
    last.message.as_deref()
}

/// Waits until CoreDNS says that it is ready, and until its Service leads to it. An earlier query would
/// be lost, and a resolver waits a second for its answer.
pub(super) async fn wait_for_dns(client: &Client) -> Result<()> {
    let api = Api::<Deployment>::namespaced(client.clone(), "kube-system");
    objects::until(api, "coredns", "CoreDNS to be ready", SLOW, |coredns| {
        let status = coredns.and_then(|it| it.status.as_ref());
        match status.and_then(|it| it.ready_replicas) {
            Some(1..) => Probe::Ready(()),
            _ => Probe::Pending("no ready replica".into()),
        }
    })
    .await?;
    let of_slices = ApiResource::erase::<EndpointSlice>(&());
    let slices = Api::<DynamicObject>::namespaced_with(client.clone(), "kube-system", &of_slices);
    let of_dns = ListParams::default().labels("kubernetes.io/service-name=kube-dns");
    wait::until(
        "the Service of CoreDNS to lead to it",
        SLOW,
        async || match slices.list(&of_dns).await {
            Ok(slices) if slices.iter().any(has_ready_endpoint) => Probe::Ready(()),
            Ok(_) => Probe::Pending("no ready endpoint".into()),
            Err(error) => Probe::Pending(error.to_string()),
        },
    )
    .await
}

/// Whether a slice has a ready endpoint. The types of its fields differ between the versions of
/// Kubernetes that a user may have chosen.
fn has_ready_endpoint(slice: &DynamicObject) -> bool {
    let endpoints = slice.data["endpoints"].as_array();
    let mut endpoints = endpoints.into_iter().flatten();
    endpoints.any(|endpoint| endpoint["conditions"]["ready"] == true)
}

/// A pod on this node that does nothing. Its image is that of the sandbox, which every node has.
///
/// # Errors
/// The node does not say which image that is.
pub async fn probe_pod(node: &Node, name: &str) -> Result<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.labels = Some(label());
    pod.spec = Some(PodSpec {
        // The pod is bound to the node directly: the probe tests the node, not the scheduler.
        node_name: Some(node.name().to_owned()),
        containers: vec![Container {
            name: "probe".into(),
            image: Some(sandbox_image(node).await?),
            image_pull_policy: Some("Never".into()),
            ..Container::default()
        }],
        termination_grace_period_seconds: Some(0),
        // A pod without volumes starts without waiting for the kubelet's loops over volumes.
        automount_service_account_token: Some(false),
        ..PodSpec::default()
    });
    Ok(pod)
}

async fn usable(node: &Node, pod: &Pod) -> Result<()> {
    let id = container_id(pod);
    let id = id.ok_or_else(|| Error::setup("the probe pod's container has no id"))?;
    let seconds = |seconds| {
        wait::scaled(Duration::from_secs(seconds))
            .as_secs()
            .max(1)
            .to_string()
    };
    let (all, query) = (seconds(5), seconds(1));
    let argv = ["bash", "-c", SCRIPT, "probe", id, &all, &query];
    let what = format!(
        "a pod on node '{}' to resolve and reach a Service",
        node.name()
    );
    wait::until(&what, Duration::from_secs(90), async || {
        match node.exec(&argv).await {
            Ok(output) if output.status == 0 => Probe::Ready(()),
            Ok(output) => {
                let words = format!("{}{}", output.text(), output.stderr);
                Probe::Pending(format!("status {}: {}", output.status, words.trim()))
            }
            Err(error) => Probe::Failed(error),
        }
    })
    .await
}

/// The sandbox image that this node's runtime uses.
async fn sandbox_image(node: &Node) -> Result<String> {
    let asked = async { node.cri().await?.images().await };
    let images = wait::within("the runtime's images", STEP, asked).await?;
    let names = images.into_iter().flat_map(|image| image.tags);
    let found = names.filter(|name| name.contains("/pause:")).min();
    found.ok_or_else(|| {
        Error::not_found(format!("node '{}' has no pause image", node.name()))
            .cure("use a node image that holds the images of its control plane")
    })
}

/// The id of a pod's first container, without the name of the runtime before it.
pub(super) fn container_id(pod: &Pod) -> Option<&str> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let id = statuses.first()?.container_id.as_ref()?;
    let (_, id) = id.split_once("://")?;
    Some(id)
}

fn label() -> BTreeMap<String, String> {
    BTreeMap::from([(labels::ROLE.to_owned(), "probe".to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_may_fail_once() {
        let failed = |count: serde_json::Value, words: &str| {
            let event = serde_json::json!({"metadata": {}, "involvedObject": {}, "count": count,
                "message": words});
            serde_json::from_value::<Event>(event).unwrap()
        };
        let [one, other] = ["first", "second"].map(|words| failed(serde_json::json!(null), words));
        assert_eq!(repeated_failure(&[]), None);
        assert_eq!(repeated_failure(std::slice::from_ref(&one)), None);
        assert_eq!(repeated_failure(&[one, other]), Some("second"));
        assert_eq!(
            repeated_failure(&[failed(2.into(), "twice")]),
            Some("twice")
        );
    }

    #[test]
    fn a_service_leads_to_ready_endpoints_only() {
        let slice = |endpoints: serde_json::Value| {
            serde_json::from_value(serde_json::json!({"metadata": {}, "endpoints": endpoints}))
                .unwrap()
        };
        let endpoint = |ready: bool| serde_json::json!({"conditions": {"ready": ready}});
        assert!(has_ready_endpoint(&slice(serde_json::json!([
            endpoint(false),
            endpoint(true)
        ]))));
        assert!(!has_ready_endpoint(&slice(serde_json::json!([endpoint(
            false
        )]))));
        assert!(!has_ready_endpoint(&slice(serde_json::json!(null))));
    }

    #[test]
    fn the_id_of_a_container_is_without_its_runtimes_name() {
        for id in ["containerd://0a1b", "cri-o://0a1b"] {
            let status = serde_json::json!({"containerStatuses": [{
                "name": "probe", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": id,
            }]});
            let pod: Pod = serde_json::from_value(serde_json::json!({"status": status})).unwrap();
            assert_eq!(container_id(&pod), Some("0a1b"));
        }
        assert_eq!(container_id(&Pod::default()), None);
    }
}
