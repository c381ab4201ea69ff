//! What a cluster was when it was handed out first, and putting it back to that for the next who
//! has it alone.
//!
//! | file | does |
//! | --- | --- |
//! | `machine.rs` | the files, services and images of nodes |
//! | `restore.rs` | undoes what is safe to undo, and names the rest |

mod machine;
mod restore;

use std::{collections::BTreeMap, fs, path::PathBuf};

use futures::future::try_join_all;
use kube::{Client, api::ListParams};
use serde::{Deserialize, Serialize};

use self::machine::NodeState;
use crate::cluster::{
    Cluster,
    contents::{self, ObjectState},
    folder,
};
use kubenest_base::{Context, Result, file, settings::Settings};
use kubenest_node::node::Node;

/// The file in the folder of a cluster.
const FILE: &str = "baseline.json";

/// A cluster as it was handed out first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Baseline {
    objects: Vec<ObjectState>,
    /// The nodes by their names.
    nodes: BTreeMap<String, NodeState>,
}

impl Baseline {
    /// The cluster as it is now.
    pub(super) async fn of(cluster: &Cluster) -> Result<Self> {
        Self::now(cluster.nodes(), &cluster.client()).await
    }

    async fn now(nodes: &[Node], client: &Client) -> Result<Self> {
        let everything = ListParams::default();
        let all = nodes.iter().map(async |node| {
            let state = NodeState::of(node).await?;
            Result::Ok((node.name().to_owned(), state))
        });
        let (objects, nodes) =
            tokio::try_join!(contents::list(client, &everything), try_join_all(all))?;
        Ok(Self {
            objects,
            nodes: nodes.into_iter().collect(),
        })
    }

    /// Writes it down for whoever has the cluster next.
    pub(super) fn write(&self, cluster: &Cluster) -> Result<()> {
        let text = serde_json::to_vec(self).context("note what a cluster is")?;
        file::write(&path(cluster.docker().settings(), cluster.name()), text)
    }

    /// Reads that of the cluster of this name.
    pub(super) fn read(settings: &Settings, name: &str) -> Result<Self> {
        let path = path(settings, name);
        let what = || format!("read '{}'", path.display());
        let text = fs::read(&path).with_context(what)?;
        serde_json::from_slice(&text).with_context(what)
    }
}

fn path(settings: &Settings, name: &str) -> PathBuf {
    folder::path(settings, name).join(FILE)
}
