//! The record of a leased cluster: what a holder has to know that the engine does not tell.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use kubenest_base::{Context, Result};
use kubenest_docker::{Lease, labels::BootId};
use kubenest_node::node::Role;

use super::unreadable;
use crate::cluster::{Cluster, inventory::node_names};

/// A leased cluster, as the process that booted it wrote it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cluster) struct Record {
    /// Its name, which is also that of its folder in the cache.
    pub(in crate::cluster) name: String,
    /// Its boot, which tells it from another cluster of this name.
    pub(super) boot: BootId,
    /// The roles of its nodes, which tell their names.
    pub(super) roles: Vec<Role>,
    /// The node image.
    pub(super) image: String,
    /// The release of its kubelets.
    pub(super) kubernetes: String,
    /// The images that it came with, which have to stay in its nodes.
    pub(super) images: Vec<String>,
    /// How long its guard waits for another holder, in seconds.
    pub(super) idle: u64,
    /// It is kept: no guard watches it.
    pub(super) kept: bool,
}

impl Record {
    /// The record of a cluster with nodes of these roles, just after its boot.
    pub(super) fn of(cluster: &Cluster, roles: Vec<Role>) -> Self {
        Self {
            name: cluster.name().to_owned(),
            boot: cluster.boot_id().clone(),
            roles,
            image: cluster.image.reference.clone(),
            kubernetes: cluster.image.versions.kubernetes.clone(),
            images: cluster.protection.names(),
            idle: cluster.docker().settings().idle.as_secs(),
            kept: cluster.inventory.site().keep,
        }
    }

    /// How long its guard waits for another holder.
    pub(in crate::cluster) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle)
    }

    /// The names of its nodes.
    pub(super) fn node_names(&self) -> Vec<String> {
        node_names(&self.name, &self.roles)
    }

    /// The record as it is written.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).context("record a leased cluster")
    }

    /// Reads a record.
    pub(in crate::cluster) fn read(record: &[u8]) -> Result<Self> {
        serde_json::from_slice(record).map_err(unreadable)
    }

    /// Notes in the record of a lease that its cluster is kept.
    pub(in crate::cluster) fn keep(lease: &Lease) -> Result<()> {
        let Some(record) = lease.record() else {
            return Ok(());
        };
        let kept = Self {
            kept: true,
            ..Self::read(&record)?
        };
        lease.settle(&kept.to_bytes()?)
    }
}
