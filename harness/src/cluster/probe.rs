//! The proof that pods on a node can use the cluster's network.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::{Api, Client, api::DeleteParams};

use super::{SLOW, STEP};
use kubenest_base::{
    Error, Result,
    wait::{self, Probe},
};
use kubenest_docker::labels;
use kubenest_node::{node::Node, objects};

const NAMESPACE: &str = "default";

/// Run with the pod's network and name servers, but the node's programs, so that it works
/// with any image: resolve a Service's name, then connect to what it resolved to.
const SCRIPT: &str = include_str!("probe.sh");

/// Proves that a pod on this node resolves a Service's name and connects to it.
pub(super) async fn prove(client: &Client, node: &Node) -> Result<()> {
    let name = format!("kubenest-probe-{}", node.name());
    let pod = probe_pod(node, &name).await?;
    let api = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    objects::create(client, NAMESPACE, &pod).await?;
    let pod = objects::pod_ready(client, NAMESPACE, &name, SLOW).await?;
    let proved = usable(node, &pod).await;
    let at_once = DeleteParams::default().grace_period(0);
    let removed = api.delete(&name, &at_once);
    objects::answer(|| format!("remove pod '{name}'"), removed).await?;
    proved
}

/// A pod on this node that only exists: the sandbox's own image, which every node has.
///
/// # Errors
/// The node does not say which image that is.
pub async fn probe_pod(node: &Node, name: &str) -> Result<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.labels = Some(label());
    pod.spec = Some(PodSpec {
        // Bound by hand: the probe is about the node, not about the scheduler.
        node_name: Some(node.name().to_owned()),
        containers: vec![Container {
            name: "probe".into(),
            image: Some(sandbox_image(node).await?),
            image_pull_policy: Some("Never".into()),
            ..Container::default()
        }],
        termination_grace_period_seconds: Some(0),
        ..PodSpec::default()
    });
    Ok(pod)
}

async fn usable(node: &Node, pod: &Pod) -> Result<()> {
    let id =
        container_id(pod).ok_or_else(|| Error::setup("the probe pod's container has no id"))?;
    let pid = pid(node, &id).await?;
    let argv = ["nsenter", "--target", &pid, "--net", "unshare", "--mount"];
    let seconds = |seconds| {
        wait::scaled(Duration::from_secs(seconds))
            .as_secs()
            .max(1)
            .to_string()
    };
    let (all, query) = (seconds(5), seconds(1));
    let script = ["timeout", &all, "bash", "-c", SCRIPT, "probe", &pid, &query];
    let argv = [argv.as_slice(), &script].concat();
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

/// The sandbox image that this node's containerd uses.
async fn sandbox_image(node: &Node) -> Result<String> {
    let argv = ["ctr", "--namespace", "k8s.io", "images", "ls", "--quiet"];
    let images = node.within(STEP).exec_ok(&argv).await?.text();
    let found = images.lines().find(|name| name.contains("/pause:"));
    found.map(str::to_owned).ok_or_else(|| {
        Error::not_found(format!("node '{}' has no pause image", node.name()))
            .cure("use a node image that holds the images of its control plane")
    })
}

async fn pid(node: &Node, container: &str) -> Result<String> {
    let argv = ["ctr", "--namespace", "k8s.io", "tasks", "ls"];
    let tasks = node.within(STEP).exec_ok(&argv).await?.text();
    let row = tasks.lines().find(|row| row.starts_with(container));
    let pid = row.and_then(|row| row.split_whitespace().nth(1));
    pid.map(str::to_owned).ok_or_else(|| {
        Error::not_found(format!(
            "container {container} runs no process on '{}'",
            node.name()
        ))
    })
}

fn container_id(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let id = statuses.first()?.container_id.as_ref()?;
    Some(id.trim_start_matches("containerd://").to_owned())
}

fn label() -> BTreeMap<String, String> {
    BTreeMap::from([(labels::ROLE.to_owned(), "probe".to_owned())])
}
