//! Puts back what kubelets delete when a test has changed their configuration file.

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

/// Writes the file anew from the ConfigMap `kubelet-config` of the cluster, as kubeadm did when
/// the node came up. What was there goes to a folder in /etc/kubernetes/tmp.
const WRITE: [&str; 5] = ["kubeadm", "upgrade", "node", "phase", "kubelet-config"];

const RESTART: [&str; 3] = ["systemctl", "restart", "kubelet"];

/// Puts back every kubelet's settings that are not as asked and that its file decides. Returns
/// a line for each node that was touched; whether it is well now, another look tells.
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
    // The old one has ended: whatever answers has read the file.
    let what = format!("the restarted kubelet of node '{node}'");
    wait::until(&what, PATIENCE, async || {
        Probe::from_result(configz(node, Some(client)).await.map(drop))
    })
    .await
}
