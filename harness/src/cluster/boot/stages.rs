//! The stages of a boot, in their order, and what each gives to the next.
//!
//! | stage | in | gives |
//! | --- | --- | --- |
//! | provision | `provision.rs` | [`Machines`](provision::Machines): nodes whose runtime answers, with a network for pods |
//! | bring up | `bring_up.rs` | the `ApiServer` of a cluster whose pods reach Services by name; how is a value of the plan |
//! | gate | `gate.rs` | [`ClusterParts`] of a cluster that every health check has passed |
//!
//! Within a stage everything that can run at once does so. The proof runs beside the bring-up: it
//! follows the cluster as it comes up, and a runtime that can start no pod ends both at once.

use kubenest_base::Result;
use kubenest_forge::image::NodeImage;
use kubenest_health::health;
use kubenest_recipe::compat::Stack;

use super::{
    clock::Clock,
    gate::{self, ClusterParts},
    provision,
};
use crate::cluster::{inventory::Inventory, plan::Plan, watchdog};

/// Runs all stages.
pub(super) async fn run(
    plan: &Plan,
    stack: &Stack,
    image: &NodeImage,
    inventory: &mut Inventory,
    clock: &mut Clock,
) -> Result<ClusterParts> {
    // Test threads have small stacks, and each stage is a large future.
    // 1. Provision.
    let machines = Box::pin(provision::run(plan, image, inventory, clock)).await?;
    // 2. Bring up and prove, side by side.
    let up = async {
        let brought_up = plan.bring_up.run(plan, &machines, inventory, clock);
        // With a broken runtime the bring-up would wait minutes for a pod that cannot start.
        let fit = health::gate_runtime(&machines.nodes, &plan.expected);
        let (api_server, _) = tokio::try_join!(brought_up, fit)?;
        clock.lap("usable");
        Ok(api_server)
    };
    let mut api_server = watchdog::run_beside(&machines.nodes, up).await?;
    inventory.hold_open(api_server.tunnel.take());
    // 3. Gate.
    let parts = Box::pin(gate::run(plan, stack, image, machines, api_server)).await?;
    inventory.settle().await?;
    clock.lap("gate");
    Ok(parts)
}
