//! The stage that turns provisioned nodes into a cluster with a pod on each node.

use kube::Client;
use kubenest_base::{Context, Result, random};

use super::{clock::Clock, provision::Machines};
use crate::cluster::{
    inventory::Inventory,
    kubeadm::Documents,
    kubeconfig,
    nodes::Nodes,
    pairs,
    plan::{BringUp, Plan},
    probe::ProbePod,
    steps::{
        addons::Addons,
        api_server::{self, ApiServer},
        door, early_rights, init, join, usable,
    },
};

/// A cluster that runs a pod on each node.
pub(super) struct Up<'a> {
    pub(super) api_server: ApiServer,
    pub(super) probes: Vec<ProbePod<'a>>,
}

impl BringUp {
    /// Brings Kubernetes up on all nodes, until a pod runs on each of them.
    pub(super) async fn run<'a>(
        self,
        plan: &Plan,
        machines: &'a Machines,
        inventory: &Inventory,
        clock: &mut Clock,
    ) -> Result<Up<'a>> {
        let Machines {
            nodes, kubernetes, ..
        } = machines;
        let documents = Documents {
            kubernetes,
            cluster: inventory.name(),
            control_plane: nodes.control_plane().name(),
            runtime: plan.runtime,
            addresses: plan.addresses,
            token: &bootstrap_token(),
            allow_cgroup_v1: pairs::judge_kubernetes(plan, kubernetes, inventory.docker()).await?,
            tuned: self == Self::Fast,
            patches: &plan.kubeadm_patches,
        };
        match self {
            Self::Kubeadm => run_kubeadm(machines, &documents, clock).await,
            Self::Fast => run_fast(machines, &documents, clock).await,
        }
    }
}

async fn run_kubeadm<'a>(
    machines: &'a Machines,
    documents: &Documents<'_>,
    clock: &mut Clock,
) -> Result<Up<'a>> {
    let nodes = &machines.nodes;
    let control_plane = nodes.control_plane();
    let brought_up = async {
        init::run(control_plane, documents).await?;
        clock.lap("init");
        join::run(nodes, documents).await?;
        clock.lap("join");
        Ok(())
    };
    let started = async {
        let api_server = api_server::reach(documents.cluster, control_plane, machines.port).await?;
        let client = api_server.clients.here();
        api_server::wait_ready(&client, control_plane).await?;
        let probes = usable::start_probes(&client, nodes, documents.addresses).await?;
        Ok(Up { api_server, probes })
    };
    let ((), up) = tokio::try_join!(brought_up, started)?;
    Ok(up)
}

async fn run_fast<'a>(
    machines: &'a Machines,
    documents: &Documents<'_>,
    clock: &mut Clock,
) -> Result<Up<'a>> {
    let nodes = &machines.nodes;
    let control_plane = nodes.control_plane();
    init::write_files(control_plane, documents).await?;
    clock.lap("init");
    let (api_server, privileged, addons, ()) = tokio::try_join!(
        api_server::reach(documents.cluster, control_plane, machines.port),
        kubeconfig::read_privileged(control_plane),
        Addons::of(control_plane, nodes.len()),
        join::start_kubelets(nodes, documents),
    )?;
    clock.lap("API server");
    let config = kubeconfig::config_at(&privileged, documents.cluster, api_server.port).await?;
    let client = Client::try_from(config).context("make a Kubernetes client")?;
    let kubeadm = async {
        let_components_in(&client, nodes).await?;
        init::create_objects(control_plane).await?;
        match documents.changes_join() {
            true => join::run(nodes, documents).await,
            false => Ok(()),
        }
    };
    let addons = addons.start(&client, nodes, documents.addresses);
    let probes = usable::start_probes(&client, nodes, documents.addresses);
    let ((), (), probes) =
        tokio::try_join!(Box::pin(addons), Box::pin(kubeadm), Box::pin(probes),)?;
    // Only now is kube-proxy the only way to a Service, so that the proof is about kube-proxy.
    Ok(Up { api_server, probes })
}

/// Lets the control plane's components work before the API server is ready; ends when it is.
async fn let_components_in(client: &Client, nodes: &Nodes) -> Result<()> {
    early_rights::give(client).await?;
    door::open(nodes).await?;
    api_server::wait_ready(client, nodes.control_plane()).await?;
    early_rights::withdraw(client).await
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
