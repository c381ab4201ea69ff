//! Tells nodes of the registries that they pull images from.

use futures::future::try_join_all;
use kubenest_base::Result;

use crate::cluster::{STEP, nodes::Nodes, spec::Registries};

/// Writes the files that the nodes' runtimes and kubelets read at a pull.
pub(in crate::cluster) async fn tell(nodes: &Nodes, registries: &Registries) -> Result<()> {
    let told = nodes.iter().map(async |node| {
        let files = registries.files(node.runtime());
        match files.is_empty() {
            true => Ok(()),
            false => node.within(STEP).write_files(&files).await,
        }
    });
    try_join_all(told).await.map(drop)
}
