//! Puts back the deletion settings of kubelets whose configuration file a test has changed.

use std::time::Duration;

use futures::future::join_all;
use kube::Client;

use super::{
    Expected,
    checks::{
        Facts,
        kubelet::{configz, drift},
    },
};
use kubenest_base::{
    Result, progress,
    wait::{self, Probe},
};
use kubenest_node::node::Node;
use kubenest_recipe::compat::Check;

/// How long kubeadm may take, and after it the restarted kubelet.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rewrites the file from the cluster's ConfigMap `kubelet-config`, as kubeadm wrote it when the
/// node came up. kubeadm moves the old file to a folder in /etc/kubernetes/tmp.
const WRITE: [&str; 5] = ["kubeadm", "upgrade", "node", "phase", "kubelet-config"];

const RESTART: [&str; 3] = ["systemctl", "restart", "kubelet"];

/// Puts back, on every node, settings that differ from the expected ones because of the kubelet's
/// file. Returns a line for each changed node; whether the node is healthy now has to be checked
/// again.
pub(super) async fn put_back_kubelets(
    nodes: &[Node],
    client: &Client,
    facts: &[Facts],
    expected: &Expected,
) -> Vec<String> {
    if expected
        .tolerated
        .iter()
        .any(|name| name == Check::Kubelet.name())
    {
        return Vec::new();
    }
    let all = nodes.iter().zip(facts).map(async |(node, facts)| {
        let drift = drift(facts, expected);
        if drift.is_empty() {
            return None;
        }
        let drift = drift.join("; ");
        let line = match put_back(node, client).await {
            Ok(()) => format!("put back the kubelet's settings on node '{node}': {drift}"),
            Err(error) => format!(
                "could not put back the kubelet's settings on node '{node}', {drift}: {}",
                error.report()
            ),
        };
        progress!("{line}");
        Some(line)
    });
    join_all(all).await.into_iter().flatten().collect()
}

async fn put_back(node: &Node, client: &Client) -> Result<()> {
    node.within(PATIENCE).exec_ok(&WRITE).await?;
    node.within(PATIENCE).exec_ok(&RESTART).await?;
    // The old kubelet has ended, so the one that answers has read the new file.
    let what = format!("the restarted kubelet of node '{node}'");
    wait::until(&what, PATIENCE, async || {
        Probe::from_result(configz(node, Some(client)).await.map(drop))
    })
    .await
}
