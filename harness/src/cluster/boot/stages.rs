//! The stages of a boot, in their order, and what each gives to the next.
//!
//! | stage | in | gives |
//! | --- | --- | --- |
//! | provision | `provision.rs` | [`Machines`]: nodes with a network for pods; the control plane's runtime answers |
//! | bring up | `bring_up.rs` | the `ApiServer` of a cluster that runs a pod on each node; how is a value of the plan |
//! | prove | `steps/usable.rs` | pods that reach Services by name |
//! | gate | `gate.rs` | the `Protection` of a cluster that every health check has passed |
//!
//! Within a stage everything that can run at once does so. The runtime's checks run beside the bring-up
//! and end it at once, the gate beside the proof: neither looks at what the other does.

use kubenest_base::Result;
use kubenest_forge::image::NodeImage;
use kubenest_health::health;
use kubenest_images::Protection;
use kubenest_recipe::compat::Stack;

use super::{
    clock::Clock,
    gate,
    provision::{self, Machines},
};
use crate::cluster::{
    inventory::Inventory,
    plan::Plan,
    steps::{api_server::ApiServer, containers, usable},
    watchdog,
};

/// The parts of a cluster's handle.
pub(super) struct ClusterParts {
    pub(super) machines: Machines,
    pub(super) api_server: ApiServer,
    pub(super) protection: Protection,
}

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
    let nodes = &machines.nodes;
    let up = async {
        // 2. Bring up. With a broken runtime this would wait minutes for a pod that cannot start.
        let brought_up = plan.bring_up.run(plan, &machines, inventory, clock);
        let fit = async {
            containers::wait_for_runtimes(nodes.iter()).await?;
            health::gate_runtime(nodes, &plan.expected).await
        };
        let (up, _) = tokio::try_join!(brought_up, fit)?;
        clock.lap("pods");
        // 3. and 4. Prove, and gate.
        let client = up.api_server.clients.here();
        let proof = Box::pin(usable::prove(&client, &up.probes));
        let gate = Box::pin(gate::run(plan, stack, image, &machines, &client));
        let ((), protection) = tokio::try_join!(proof, gate)?;
        Ok((up.api_server, protection))
    };
    let (mut api_server, protection) = watchdog::run_beside(nodes, up).await?;
    inventory.hold_open(api_server.tunnel.take());
    inventory.settle().await?;
    clock.lap("usable");
    Ok(ClusterParts {
        machines,
        api_server,
        protection,
    })
}
