//! The stage that turns provisioned nodes into a cluster.

use kubenest_base::{Result, random};

use super::{clock::Clock, provision::Machines};
use crate::cluster::{
    inventory::Inventory,
    kubeadm::Documents,
    pairs,
    plan::{BringUp, Plan},
    steps,
};

impl BringUp {
    /// Brings Kubernetes up on all nodes.
    pub(super) async fn run(
        self,
        plan: &Plan,
        machines: &Machines,
        inventory: &Inventory,
        clock: &mut Clock,
    ) -> Result<()> {
        match self {
            Self::Kubeadm => run_kubeadm(plan, machines, inventory, clock).await,
        }
    }
}

async fn run_kubeadm(
    plan: &Plan,
    machines: &Machines,
    inventory: &Inventory,
    clock: &mut Clock,
) -> Result<()> {
    let Machines {
        nodes, kubernetes, ..
    } = machines;
    let control_plane = nodes.control_plane();
    let documents = Documents {
        kubernetes,
        cluster: inventory.name(),
        control_plane: control_plane.name(),
        runtime: plan.runtime,
        addresses: plan.addresses,
        token: &bootstrap_token(),
        allow_cgroup_v1: pairs::judge_kubernetes(plan, kubernetes, inventory.docker()).await?,
        tuned: plan.tuned,
        patches: &plan.kubeadm_patches,
    };
    steps::init::run(control_plane, &documents).await?;
    clock.lap("init");
    let dns = steps::dns::run(control_plane);
    let join = steps::join::run(nodes, &documents);
    tokio::try_join!(dns, join)?;
    clock.lap("join");
    Ok(())
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
