//! The proofs of a boot, which run while the cluster comes up.

use kube::Client;
use kubenest_base::Result;

use crate::cluster::{nodes::Nodes, plan::Plan, steps::usable};

/// Waits until pods on every node can use the cluster. Nodes, service account and pod network
/// appear by themselves.
pub(super) async fn run(client: &Client, plan: &Plan, nodes: &Nodes) -> Result<()> {
    usable::wait(client, nodes, plan.addresses).await
}
