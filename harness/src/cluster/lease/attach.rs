//! Makes a handle of a leased cluster that is up already.

use std::{sync::Arc, time::Instant};

use futures::future::try_join_all;

use kubenest_base::{
    Error, Result, progress,
    wait::{self, Probe},
};
use kubenest_docker::{ContainerState, Holder, Lease, Owner, labels::BOOT};
use kubenest_evidence as evidence;
use kubenest_forge::lockfile;
use kubenest_health::health;
use kubenest_images::Protection;
use kubenest_node::node::Node;

use super::{baseline::Baseline, record::Record};
use crate::{
    case::{HEALTHY, Running},
    cluster::{
        Cluster,
        boot::{BootJob, Clock},
        clients::Clients,
        folder,
        inventory::Inventory,
        kubeconfig,
        nodes::Nodes,
        site::Site,
    },
};

/// Looks at the cluster of a lease that is held, and makes a handle of it. The look changes nothing,
/// unless the lease is held alone: then what earlier holders left is undone.
///
/// The inner error says why the cluster is unfit: it is gone, unhealthy, or not as it was.
pub(super) async fn attach(
    job: &BootJob,
    lease: &Lease,
    record: &Record,
    hold: Holder,
    clock: &mut Clock,
    started: Instant,
) -> Result<Result<Cluster>> {
    let site = Site {
        owner: Owner::Lease(lease.clone()),
        name: record.name.clone(),
        ..job.site.clone()
    };
    keep_evidence(&site).await;
    let parts = match look(job, &site, record, hold.is_alone()).await {
        Ok(parts) => parts,
        Err(why) => return Ok(Err(why)),
    };
    let client = parts.clients.here();
    lockfile::hold_running(&site.settings, &client, &job.image).await?;
    let inventory = inventory_of(job, site, record, hold).await?;
    clock.attach(inventory.subject());
    if let Some(subject) = inventory.subject() {
        subject.note_versions(&job.image.versions);
    }
    inventory.begin_notebook();
    clock.lap("attach");
    Ok(Ok(Cluster {
        kubeconfig: folder::kubeconfig(&job.site.settings, &record.name),
        nodes: parts.nodes,
        clients: Arc::new(parts.clients),
        image: job.image.clone(),
        expected: job.plan.expected.clone(),
        protection: parts.protection,
        started,
        phases: std::mem::take(&mut clock.phases),
        running: Arc::new(Running::none_after_gate()),
        inventory,
    }))
}

/// Keeps evidence of holders that were killed, before what they have left is undone.
pub(super) async fn keep_evidence(site: &Site) {
    let (kept, finished) = evidence::finish_holders(&site.settings, &site.name).await;
    for kept in kept {
        progress!("a test was killed on cluster '{}'\n{kept}", site.name);
    }
    if let Err(error) = finished {
        tracing::warn!("{}", error.report());
    }
}

/// What a look at a cluster gives.
struct Parts {
    nodes: Nodes,
    clients: Clients,
    protection: Protection,
}

async fn look(job: &BootJob, site: &Site, record: &Record, is_alone: bool) -> Result<Parts> {
    let names = record.node_names();
    let attached = names.iter().zip(&record.roles).map(async |(name, role)| {
        let found = site.docker.container(name).await?;
        let is_its = |found: &ContainerState| {
            found.labels.get(BOOT).map(String::as_str) == Some(record.boot.as_str())
        };
        match found.filter(is_its) {
            None => Err(Error::not_found(format!("node '{name}' is gone"))),
            Some(found) if !found.running => Err(Error::not_found(format!(
                "node '{name}' has ended with exit code {}",
                found.exit_code
            ))),
            Some(_) => Node::attach(&site.docker, name, *role).await,
        }
    });
    let nodes = Nodes::new(try_join_all(attached).await?);
    let path = folder::kubeconfig(&site.settings, &record.name);
    let clients = Clients::new(kubeconfig::config(&path).await?)?;
    let client = clients.here();
    if is_alone {
        let baseline = Baseline::read(&site.settings, &record.name)?;
        baseline.restore(&record.name, &nodes, &client).await?;
    }
    let what = format!("cluster '{}' to be healthy", record.name);
    let protection = Protection::new(&record.kubernetes);
    let look = async || {
        let healthy = health::gate(&nodes, &client, &job.plan.expected);
        let adopted = protection.adopt_named(&nodes, &record.images);
        tokio::try_join!(healthy, adopted)
    };
    // Its runtime may have been restarted a moment ago.
    wait::until(&what, HEALTHY, async || Probe::from_result(look().await)).await?;
    Ok(Parts {
        nodes,
        clients,
        protection,
    })
}

/// The inventory of a cluster that is held, with its guard; it is kept from now on if this process
/// keeps its clusters.
async fn inventory_of(
    job: &BootJob,
    site: Site,
    record: &Record,
    hold: Holder,
) -> Result<Inventory> {
    let keeps = site.keep;
    let inventory = Inventory::attach(site, record.boot.clone(), &record.roles, hold);
    if record.kept {
        return Ok(inventory);
    }
    match keeps {
        true => inventory.keep().await?,
        false => inventory.restore_guard(&job.image.reference).await?,
    }
    Ok(inventory)
}
