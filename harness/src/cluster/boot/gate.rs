//! The last stage of a boot: every health check on every node, and the versions that the nodes
//! report.

use kubenest_base::Result;
use kubenest_forge::{image::NodeImage, lockfile};
use kubenest_health::health;
use kubenest_images::Protection;
use kubenest_recipe::compat::Stack;

use super::provision::Machines;
use crate::cluster::{pairs, plan::Plan, steps::api_server::ApiServer};

/// The parts of a cluster's handle.
pub(super) struct ClusterParts {
    pub(super) machines: Machines,
    pub(super) api_server: ApiServer,
    pub(super) protection: Protection,
}

/// Accepts a cluster that is healthy and runs what was planned; its images are protected from now
/// on.
pub(super) async fn run(
    plan: &Plan,
    stack: &Stack,
    image: &NodeImage,
    machines: Machines,
    api_server: ApiServer,
) -> Result<ClusterParts> {
    let (nodes, client) = (&machines.nodes, api_server.clients.here());
    let running = health::gate_running(nodes, &client, &plan.expected).await?;
    pairs::judge_running(plan, stack, &running)?;
    let settings = nodes.control_plane().docker().settings();
    lockfile::hold_running(settings, &client, image).await?;
    let protection = Protection::new(&machines.kubernetes);
    protection.adopt(nodes).await?;
    Ok(ClusterParts {
        machines,
        api_server,
        protection,
    })
}
