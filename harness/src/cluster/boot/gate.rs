//! The last stage of a boot: every health check on every node, and the versions that the nodes
//! report.

use kube::Client;
use kubenest_base::Result;
use kubenest_forge::{image::NodeImage, lockfile};
use kubenest_health::health;
use kubenest_images::Protection;
use kubenest_recipe::compat::Stack;

use super::provision::Machines;
use crate::cluster::{pairs, plan::Plan};

/// Accepts a cluster that is healthy and runs what was planned; its images are protected from now
/// on.
pub(super) async fn run(
    plan: &Plan,
    stack: &Stack,
    image: &NodeImage,
    machines: &Machines,
    client: &Client,
) -> Result<Protection> {
    let nodes = &machines.nodes;
    let running = health::gate_running(nodes, client, &plan.expected).await?;
    pairs::judge_running(plan, stack, &running)?;
    let settings = nodes.control_plane().docker().settings();
    lockfile::hold_running(settings, client, image).await?;
    let protection = Protection::new(&machines.kubernetes);
    protection.adopt(nodes).await?;
    Ok(protection)
}
