//! The stages of a boot: provision, bring up, gate. Within a stage all runs at once that can.

use kubenest_base::{Result, random};
use kubenest_forge::{image::NodeImage, lockfile};
use kubenest_health::health;
use kubenest_images::Protection;
use kubenest_recipe::compat::Stack;

use super::clock::Clock;
use crate::cluster::{
    clients::Clients,
    kubeadm::Documents,
    made::Made,
    nodes::Nodes,
    pairs,
    plan::Plan,
    steps::{self, init::Reached},
    watchdog,
};

/// What all stages come to.
pub(super) struct Booted {
    pub(super) nodes: Nodes,
    pub(super) clients: Clients,
    pub(super) kubeconfig: std::path::PathBuf,
    pub(super) image: NodeImage,
    pub(super) protection: Protection,
}

/// The containers of a cluster, without Kubernetes.
struct Provisioned {
    nodes: Nodes,
    /// The port of the API server on the engine's host.
    port: u16,
    /// The nodes' Kubernetes, as they say.
    kubernetes: String,
}

/// Runs all stages.
pub(super) async fn run(
    plan: &Plan,
    stack: &Stack,
    image: NodeImage,
    made: &mut Made,
    clock: &mut Clock,
) -> Result<Booted> {
    let provisioned = provision(plan, &image, made, clock).await?;
    let reached = bring_up(plan, &provisioned, made, clock).await?;
    made.hold_open(reached.tunnel);
    let Provisioned {
        nodes, kubernetes, ..
    } = provisioned;
    let client = reached.clients.here();
    let running = health::gate_running(&nodes, &client, &plan.expected).await?;
    pairs::after(plan, stack, &running)?;
    lockfile::hold_running(&client, &image).await?;
    let protection = Protection::new(&kubernetes);
    protection.adopt(&nodes).await?;
    made.settle().await?;
    clock.lap("gate");
    Ok(Booted {
        nodes,
        clients: reached.clients,
        kubeconfig: reached.kubeconfig,
        image,
        protection,
    })
}

/// Makes the network and the nodes' containers, watched over from the first on.
async fn provision(
    plan: &Plan,
    image: &NodeImage,
    made: &mut Made,
    clock: &mut Clock,
) -> Result<Provisioned> {
    let roles: Vec<_> = plan.nodes.iter().map(|node| node.role).collect();
    made.claim_names(&roles).await?;
    clock.attach(made.subject());
    if let Some(subject) = made.subject() {
        subject.note_versions(&image.versions);
    }
    made.start_guard(&image.reference).await?;
    let network = made.make_network().await?;
    let (nodes, port) = steps::containers::start(plan, image, made, &network).await?;
    clock.lap("containers");
    let kubernetes = steps::containers::kubernetes_version(nodes.control_plane()).await?;
    Ok(Provisioned {
        nodes,
        port,
        kubernetes,
    })
}

/// Has kubeadm make the cluster, and waits until it is usable.
async fn bring_up(
    plan: &Plan,
    provisioned: &Provisioned,
    made: &Made,
    clock: &mut Clock,
) -> Result<Reached> {
    let Provisioned {
        nodes,
        port,
        kubernetes,
    } = provisioned;
    let control_plane = nodes.control_plane();
    let token = bootstrap_token();
    let documents = Documents {
        kubernetes,
        cluster: made.name(),
        control_plane: control_plane.name(),
        runtime: plan.runtime,
        addresses: plan.addresses,
        token: &token,
        told_cgroup_v1: pairs::before_kubeadm(plan, kubernetes, made.docker()).await?,
        patches: &plan.kubeadm_patches,
    };
    // From here on the nodes' own services can give up: whoever does ends the boot.
    let work = async {
        steps::network::set_up(nodes, plan.addresses).await?;
        clock.lap("network");
        let run = async {
            steps::init::run(control_plane, &documents).await?;
            clock.lap("init");
            let dns = steps::dns::run(control_plane);
            let join = steps::join::run(nodes, &documents);
            tokio::try_join!(dns, join)?;
            clock.lap("join");
            Ok(())
        };
        // As soon as the API server answers: node, account and pod network come by themselves.
        let usable = async {
            let reached = steps::init::reach(made.name(), control_plane, *port).await?;
            steps::usable::wait(&reached.clients.here(), nodes, plan.addresses).await?;
            Ok(reached)
        };
        // On a sick runtime `kubeadm init` would wait minutes for a pod that cannot start.
        let fit = health::gate_runtime(nodes, &plan.expected);
        let (_, reached, _) = tokio::try_join!(run, usable, fit)?;
        clock.lap("usable");
        Result::Ok(reached)
    };
    tokio::select! {
        done = Box::pin(work) => done,
        error = watchdog::watch(nodes) => Err(error),
    }
}

fn bootstrap_token() -> String {
    format!("{}.{}", random::hex(3), random::hex(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_token_is_one_to_kubeadm_and_no_two_are_the_same() {
        let form = regex::Regex::new("^[a-z0-9]{6}\\.[a-z0-9]{16}$").unwrap();
        let (one, other) = (bootstrap_token(), bootstrap_token());
        assert!(
            form.is_match(&one) && form.is_match(&other),
            "{one} {other}"
        );
        assert_ne!(one, other);
    }
}
