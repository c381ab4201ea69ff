//! The stage that makes a cluster's network and its nodes' containers.

use kubenest_base::Result;
use kubenest_forge::image::NodeImage;

use super::clock::Clock;
use crate::cluster::{
    inventory::Inventory,
    nodes::Nodes,
    plan::{BringUp, Plan},
    steps, watchdog,
};

/// Nodes that run a container runtime and no Kubernetes.
pub(super) struct Machines {
    pub(super) nodes: Nodes,
    /// The port of the future API server on the engine's host.
    pub(super) port: u16,
    /// The Kubernetes release that the nodes report.
    pub(super) kubernetes: String,
}

/// Provisions the nodes of a plan; a guard watches over them before the first is made.
pub(super) async fn run(
    plan: &Plan,
    image: &NodeImage,
    inventory: &mut Inventory,
    clock: &mut Clock,
) -> Result<Machines> {
    let roles: Vec<_> = plan.nodes.iter().map(|node| node.role).collect();
    inventory.claim_names(&roles).await?;
    clock.attach(inventory.subject());
    if let Some(subject) = inventory.subject() {
        subject.note_versions(&image.versions);
    }
    inventory.start_guard(&image.reference).await?;
    let network = inventory.make_network().await?;
    let (nodes, port) = steps::containers::start(plan, image, inventory, &network).await?;
    // The runtimes of workers are waited for later, while the control plane starts.
    let first = match plan.bring_up {
        BringUp::Fast => std::slice::from_ref(nodes.control_plane()),
        BringUp::Kubeadm => &*nodes,
    };
    let answered = steps::containers::wait_for_runtimes(first);
    watchdog::run_beside(&nodes, answered).await?;
    clock.lap("containers");
    let connected = async {
        let door = async {
            match plan.bring_up {
                BringUp::Fast => steps::door::close(&nodes, plan.addresses).await,
                BringUp::Kubeadm => Ok(()),
            }
        };
        let registries = steps::registries::tell(&nodes, &plan.registries);
        tokio::try_join!(
            steps::network::set_up(&nodes, plan.addresses),
            door,
            registries
        )?;
        steps::containers::kubernetes_version(nodes.control_plane()).await
    };
    let kubernetes = watchdog::run_beside(&nodes, connected).await?;
    clock.lap("network");
    Ok(Machines {
        nodes,
        port,
        kubernetes,
    })
}
