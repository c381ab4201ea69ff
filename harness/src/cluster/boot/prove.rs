//! The stage that proves a cluster usable, while the cluster comes up.

use kubenest_base::Result;
use kubenest_health::health;

use super::provision::Machines;
use crate::cluster::{
    plan::Plan,
    steps::{
        api_server::{self, ApiServer},
        usable,
    },
};

/// Waits until pods on every node can use the cluster; `name` is the cluster's name. A node whose
/// runtime cannot start pods is refused at once.
pub(super) async fn run(plan: &Plan, machines: &Machines, name: &str) -> Result<ApiServer> {
    let Machines { nodes, port, .. } = machines;
    // The proof begins when the API server answers: nodes, service account and pod network appear
    // by themselves.
    let usable = async {
        let api_server = api_server::reach(name, nodes.control_plane(), *port).await?;
        usable::wait(&api_server.clients.here(), nodes, plan.addresses).await?;
        Ok(api_server)
    };
    // With a broken runtime `kubeadm init` would wait minutes for a pod that cannot start.
    let fit = health::gate_runtime(nodes, &plan.expected);
    let (api_server, _) = tokio::try_join!(usable, fit)?;
    Ok(api_server)
}
