//! Clusters: a spec is booted stage by stage, and the result is a handle.

mod addresses;
mod attach;
mod boot;
mod clients;
mod config;
pub(crate) mod contents;
mod folder;
mod inventory;
mod kubeadm;
pub(crate) mod kubeconfig;
mod lease;
mod listing;
mod merge;
mod nest;
mod nodes;
mod pairs;
mod plan;
mod probe;
mod removal;
mod room;
mod site;
mod spec;
mod steps;
mod tunnel;
mod watchdog;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Client;
use serde::{Deserialize, Serialize};

use self::{clients::Clients, inventory::Inventory, nodes::Nodes};
pub use self::{
    folder::forget_dead,
    lease::{LeaseRequest, Preparation, lease},
    listing::{Listed, Standing, list},
    nest::JobPod,
    probe::probe_pod,
    spec::{ClusterSpec, NodeSpec},
};
use crate::case::Running;
use kubenest_base::{Error, Result};
use kubenest_docker::{Docker, labels::BootId};
use kubenest_evidence as evidence;
use kubenest_evidence::{Occasion, Subject};
use kubenest_forge::image::{NodeImage, Versions};
use kubenest_health::health::{self, Expected, Report};
use kubenest_images::{Images, Protection};
use kubenest_node::node::Node;

/// How long a part of a test took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// In seconds.
    pub seconds: f64,
}

/// A running cluster. Dropping it removes it, unless it is kept; [`down`](Cluster::down) does the
/// same and reports errors. A [leased](crate::lease) one is only released by both.
pub struct Cluster {
    nodes: Nodes,
    clients: Arc<Clients>,
    kubeconfig: PathBuf,
    image: NodeImage,
    expected: Expected,
    protection: Protection,
    started: Instant,
    phases: Vec<Phase>,
    running: Arc<Running>,
    inventory: Inventory,
}

impl Cluster {
    /// Its name, which is also kind's name for it.
    pub fn name(&self) -> &str {
        self.inventory.name()
    }

    /// A client with administrator's rights, on 127.0.0.1. It works in the runtime in which this is
    /// called and ends with that runtime; the cluster does not.
    pub fn client(&self) -> Client {
        self.clients.here()
    }

    /// The cluster's own kubeconfig file; `~/.kube/config` is never touched.
    ///
    /// Where the engine is on another machine or in another network, the address in the file leads
    /// through this process and ends with it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// All nodes, the control plane first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The control plane's node.
    pub fn control_plane(&self) -> &Node {
        self.nodes.control_plane()
    }

    /// The engine it runs on.
    pub fn docker(&self) -> &Docker {
        self.inventory.docker()
    }

    /// The image of its nodes.
    pub fn image(&self) -> &NodeImage {
        &self.image
    }

    /// The images in its nodes.
    ///
    /// ```no_run
    /// # async fn example(cluster: kubenest::Cluster) -> anyhow::Result<()> {
    /// let loaded = cluster.images().load("my-operator:dev").await?;
    /// assert!(loaded.nodes.iter().all(|node| node.sent_bytes > 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn images(&self) -> Images<'_> {
        Images::of(self.docker(), &self.nodes).with_protection(&self.protection)
    }

    /// The versions its nodes are made of.
    pub fn versions(&self) -> &Versions {
        &self.image.versions
    }

    /// When its boot began; of a leased cluster that was up already, when it was asked for.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The time that each step of the boot took.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Writes a bundle of what its nodes say now, whether a test failed or not: from the begin of
    /// the first running case, or all logs where no case runs.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn evidence(&self) -> Result<evidence::Bundle> {
        evidence::of_subject(self.subject(), &Occasion::asked_for(), None).await
    }

    /// The random id of its boot.
    pub(crate) fn boot_id(&self) -> &BootId {
        self.inventory.boot()
    }

    /// The network of its nodes.
    #[cfg(feature = "testcontainers")]
    pub(crate) fn network(&self) -> String {
        self.inventory.network()
    }

    /// The labels of a resource of this role that goes with the cluster.
    #[cfg(feature = "testcontainers")]
    pub(crate) fn labels(&self, role: &str) -> std::collections::HashMap<String, String> {
        self.inventory.labels(role)
    }

    /// The subject of evidence.
    pub(crate) fn subject(&self) -> &Subject {
        self.inventory
            .subject()
            .expect("a booted cluster must be known")
    }

    /// Runs the health gate once more.
    ///
    /// # Errors
    /// A check failed: the error names it, the node, what was observed and the cure.
    pub async fn health(&self) -> Result<Report> {
        health::gate(&self.nodes, &self.client(), &self.expected).await
    }

    /// As [`health`](Self::health), before a test on a cluster where no other test runs: kubelet
    /// settings that an earlier test has changed are put back first.
    pub(crate) async fn restored_health(&self) -> Result<Report> {
        let tell = |line: &str| self.subject().note_boot_step(format!("gate: {line}"));
        health::gate_restoring(&self.nodes, &self.client(), &self.expected, tell).await
    }

    /// Whether other processes may use it too: then a case looks at its health, and changes nothing.
    pub(crate) fn is_shared(&self) -> bool {
        self.inventory.is_shared()
    }

    /// How to look at it while it is kept.
    pub(crate) fn hint(&self) -> String {
        self.inventory.hint()
    }

    /// The cases that run on it.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// The images that have to stay in its nodes.
    pub(crate) fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Leaves the cluster running when this process ends. Returns a text for people that says how
    /// to look inside and how to remove it.
    ///
    /// # Errors
    /// The cluster cannot be marked as kept in the engine; it then stays only as long as this
    /// process.
    pub async fn leave(mut self) -> Result<String> {
        self.inventory.leave().await
    }

    /// Removes the cluster and all that was made for it; a kept one stays, and how to look
    /// inside is logged. A [leased](crate::lease) one is released: others may hold it, and it ends
    /// by itself when nobody has held it for a while.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn down(mut self) -> Result<()> {
        self.inventory.remove().await
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Removes a cluster by name, from another process than the one that booted it.
///
/// # Errors
/// There is no such cluster of kubenest's, or the engine refuses.
pub async fn remove(docker: &Docker, name: &str) -> Result<()> {
    let removed = kubenest_docker::sweep(docker, kubenest_docker::Scope::Cluster(name)).await?;
    if removed.is_empty() {
        return Err(
            Error::not_found(format!("no cluster '{name}' of kubenest's"))
                .cure("`kubenest list` shows those there are"),
        );
    }
    std::fs::remove_dir_all(folder::path(docker.settings(), name)).ok();
    Ok(())
}

/// Deadline of a boot whose node images exist already: longer than all its steps take together.
const BOOT: Duration = Duration::from_secs(15 * 60);
/// Deadline of steps that wait for the control plane.
const SLOW: Duration = Duration::from_secs(180);
/// Deadline of a command in a node that waits for nothing.
const STEP: Duration = Duration::from_secs(60);
