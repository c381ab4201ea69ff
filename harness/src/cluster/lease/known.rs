//! The shared clusters that this process has leased before: its next test has one at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use kubenest_base::Result;
use kubenest_docker::{Holder, Lease};
use kubenest_forge::image::NodeImage;
use kubenest_health::health::{self, Expected};
use kubenest_images::Protection;

use super::{LeaseRequest, attach::keep_evidence, record::Record, unless_ended};
use crate::{
    case::Running,
    cluster::{
        Cluster, Phase, clients::Clients, folder, inventory::Inventory, nodes::Nodes, site::Site,
    },
};

/// By what was asked for.
static KNOWN: Mutex<Option<HashMap<String, Arc<Known>>>> = Mutex::new(None);

/// A shared cluster that this process has leased before.
struct Known {
    /// The content of its preparation.
    content: Option<String>,
    lease: Lease,
    record: Record,
    site: Site,
    nodes: Nodes,
    clients: Arc<Clients>,
    image: NodeImage,
    expected: Expected,
    protection: Protection,
    running: Arc<Running>,
}

/// Remembers a cluster that others may lease too, unless it is kept.
pub(super) fn remember(request: &LeaseRequest, content: Option<&str>, cluster: &Cluster) {
    let Some(lease) = cluster.inventory.lease().filter(|_| cluster.is_shared()) else {
        return;
    };
    let record = lease.record().map(|record| Record::read(&record));
    let Some(Ok(record)) = record.filter(|_| !cluster.inventory.site().keep) else {
        return;
    };
    let known = Known {
        content: content.map(str::to_owned),
        lease: lease.clone(),
        protection: cluster.protection.subset(&record.images),
        record,
        site: cluster.inventory.site().clone(),
        nodes: cluster.nodes.clone(),
        clients: Arc::clone(&cluster.clients),
        image: cluster.image.clone(),
        expected: cluster.expected.clone(),
        running: Arc::clone(&cluster.running),
    };
    change(|all| all.insert(key(request), Arc::new(known)));
}

/// The cluster that this process had for the same request. If its gate has not just passed, all is
/// looked at that whoever attaches looks at. A cluster that is not as it was is leased as if for the
/// first time.
///
/// # Errors
/// The preparation cannot be read, or its guard cannot be started.
pub(super) async fn lease_again(
    request: &LeaseRequest,
    started: Instant,
) -> Result<Option<Cluster>> {
    let key = key(request);
    let Some(known) = change(|all| all.get(&key).cloned()) else {
        return Ok(None);
    };
    let content = match &request.preparation {
        Some(preparation) => Some(preparation.resolve(&known.site.docker).await?.content),
        None => None,
    };
    if content == known.content
        && let Some(hold) = unless_ended(known.lease.hold())?
    {
        if known.running.is_fresh() {
            return Ok(Some(known.lend(hold, started)));
        }
        keep_evidence(&known.site).await;
        if known.passes_gate().await {
            let cluster = known.lend(hold, started);
            let guarded = cluster.inventory.restore_guard(&known.record.image);
            let (guarded, ()) = tokio::join!(guarded, cluster.remove_abandoned());
            return guarded.map(|()| Some(cluster));
        }
    }
    change(|all| all.remove(&key));
    Ok(None)
}

impl Known {
    async fn passes_gate(&self) -> bool {
        let begun = Instant::now();
        let gate = health::gate(&self.nodes, &self.clients.here(), &self.expected).await;
        if gate.is_ok() {
            self.running.pass(begun);
        }
        gate.is_ok()
    }

    fn lend(&self, hold: Holder, started: Instant) -> Cluster {
        let (site, record) = (self.site.clone(), &self.record);
        let kubeconfig = folder::kubeconfig(&site.settings, &record.name);
        let inventory = Inventory::attach(site, record.boot.clone(), &record.roles, hold);
        if let Some(subject) = inventory.subject() {
            subject.note_versions(&self.image.versions);
        }
        inventory.begin_notebook();
        let attach = Phase {
            name: "attach".to_owned(),
            seconds: started.elapsed().as_secs_f64(),
        };
        Cluster {
            kubeconfig,
            nodes: self.nodes.clone(),
            clients: Arc::clone(&self.clients),
            image: self.image.clone(),
            expected: self.expected.clone(),
            protection: self.protection.subset(&record.images),
            started,
            phases: vec![attach],
            running: Arc::clone(&self.running),
            inventory,
        }
    }
}

fn key(request: &LeaseRequest) -> String {
    let cache = &Site::settings_of(&request.spec).cache;
    format!("{} {request:?}", cache.display())
}

fn change<T>(change: impl FnOnce(&mut HashMap<String, Arc<Known>>) -> T) -> T {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    change(known.get_or_insert_default())
}
