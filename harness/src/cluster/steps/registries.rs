//! Tells nodes of the registries that they pull images from.

use futures::future::try_join_all;
use kubenest_base::Result;
use kubenest_node::node::{Node, Runtime};

use crate::cluster::{STEP, nodes::Nodes, spec::Registries};

/// Writes the files that the nodes' runtimes and kubelets read.
pub(in crate::cluster) async fn tell(nodes: &Nodes, registries: &Registries) -> Result<()> {
    let told = nodes
        .iter()
        .map(|node| tell_node(node.within(STEP), registries));
    try_join_all(told).await.map(drop)
}

async fn tell_node(node: Node, registries: &Registries) -> Result<()> {
    let files = registries.files(node.runtime());
    if files.is_empty() {
        return Ok(());
    }
    node.write_files(&files).await?;
    if node.runtime() == Runtime::CriO {
        // It reads them when it starts, containerd at each pull.
        let reload = ["systemctl", "reload", node.runtime().service()];
        node.exec_ok(&reload).await?;
    }
    Ok(())
}
