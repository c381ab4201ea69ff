//! Waits until the cluster is usable, not just up.
//!
//! Usable means that every node is Ready with a fresh heartbeat, that the `default` service account
//! exists, and that a pod on every node resolves a Service's name and connects to it. The pod
//! proves kube-proxy, DNS and the pod network.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::{
    api::core::v1::{Node as KubeNode, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::parts;
use crate::cluster::{
    SLOW,
    addresses::{Addresses, Subnet},
    probe::{self, ProbePod},
};
use kubenest_base::{
    Error, Result,
    wait::{self, Probe},
};
use kubenest_node::{node::Node, objects};

/// How old the kubelet's heartbeat may be. Its first status comes with the node; its lease, which
/// is the heartbeat from then on, comes up to seven seconds later.
const HEARTBEAT: Duration = Duration::from_secs(40);

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Waits until every node is Ready and a probe's pod runs on it.
pub(in crate::cluster) async fn start_probes<'a>(
    client: &Client,
    nodes: &'a [Node],
    addresses: Addresses,
) -> Result<Vec<ProbePod<'a>>> {
    let account = objects::default_service_account(client, "default", SLOW);
    let nodes_of = nodes.iter().enumerate();
    let ready = nodes_of.map(|(index, node)| ready(client, addresses.pods_of_node(index), node));
    let ready = try_join_all(ready);
    let started = async {
        tokio::try_join!(account, ready)?;
        try_join_all(nodes.iter().map(|node| ProbePod::start(client, node))).await
    };
    parts::explain_pods(started.await, client).await
}

/// Proves the pod network of every node from its probe's pod.
pub(in crate::cluster) async fn prove(client: &Client, probes: &[ProbePod<'_>]) -> Result<()> {
    let proved = async {
        probe::wait_for_dns(client).await?;
        try_join_all(probes.iter().map(|probe| probe.prove(client))).await
    };
    parts::explain_pods(proved.await, client).await.map(drop)
}

async fn ready(client: &Client, subnet: Subnet, node: &Node) -> Result<()> {
    let api = Api::<KubeNode>::all(client.clone());
    let name = node.name();
    objects::until(
        api.clone(),
        name,
        &format!("node '{name}' to register"),
        SLOW,
        |node| Probe::from_option(node.map(|_| ()), || "no such node".into()),
    )
    .await?;
    // This is the subnet that a controller would assign, if the boot waited for it. A kubeadm that joins
    // a node notes the runtime's socket, which its upgrade reads.
    let subnet = subnet.to_string();
    let patch = json!({
        "metadata": {"annotations": {
            "kubeadm.alpha.kubernetes.io/cri-socket": node.runtime().endpoint(),
        }},
        "spec": {"podCIDR": subnet, "podCIDRs": [subnet]},
    });
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let given = api.patch(name, &params, &patch);
    objects::answer(|| format!("give node '{name}' its pods' subnet"), given).await?;
    let taints = objects::until(
        api.clone(),
        name,
        &format!("node '{name}' to be Ready"),
        SLOW,
        node_ready,
    )
    .await?;
    admit_pods(&api, name, taints).await
}

/// Removes the not-ready taint of a node that has become Ready; the controller manager would do it later.
/// A scheduler that meets the taint waits for a second before it tries the same pod again.
async fn admit_pods(api: &Api<KubeNode>, node: &str, taints: Vec<Taint>) -> Result<()> {
    let (not_ready, others): (Vec<_>, Vec<_>) =
        taints.into_iter().partition(|taint| taint.key == NOT_READY);
    if not_ready.is_empty() {
        return Ok(());
    }
    let patch = json!({"spec": {"taints": others}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let admitted = api.patch(node, &params, &patch);
    objects::answer(|| format!("let pods run on node '{node}'"), admitted)
        .await
        .map(drop)
}

fn is_fresh(heartbeat: &Time) -> bool {
    let age = Timestamp::now().duration_since(heartbeat.0);
    age.unsigned_abs() < wait::scaled(HEARTBEAT)
}

/// The taints of a node that is Ready.
fn node_ready(node: Option<&KubeNode>) -> Probe<Vec<Taint>> {
    let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    match ready {
        Some(condition) if condition.status == "True" => match &condition.last_heartbeat_time {
            Some(time) if is_fresh(time) => Probe::Ready(taints(node)),
            Some(time) => Probe::Pending(format!("Ready, as of {}", time.0)),
            None => Probe::Pending("Ready, without a heartbeat".into()),
        },
        Some(condition) => {
            let words = condition.message.clone().unwrap_or_default();
            // The kubelet cannot recover when the runtime lacks the CRI.
            if words.contains("unknown service runtime.v1") {
                return Probe::Failed(Error::setup(words));
            }
            Probe::Pending(words)
        }
        None => Probe::Pending("no Ready condition yet".into()),
    }
}

fn taints(node: Option<&KubeNode>) -> Vec<Taint> {
    let spec = node.and_then(|node| node.spec.as_ref());
    spec.and_then(|spec| spec.taints.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(heartbeat: &str) -> Probe<Vec<Taint>> {
        let node = json!({"metadata": {"name": "a"}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat},
        ]}});
        let node: KubeNode = serde_json::from_value(node).unwrap();
        node_ready(Some(&node))
    }

    #[test]
    fn a_node_with_a_stale_heartbeat_is_not_ready() {
        let now = Timestamp::now().to_string();
        assert!(matches!(seen(&now), Probe::Ready(_)), "{now}");
        // As left behind by a kubelet that has hung since, or whose clock is wrong.
        for stale in ["2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"] {
            let Probe::Pending(words) = seen(stale) else {
                panic!("{stale} counts as Ready");
            };
            assert_eq!(words, format!("Ready, as of {stale}"));
        }
    }
}
