//! Step 2: the pod network, before the kubelets ask for it.
//!
//! The nodes are all known, so each gets its subnet and the routes to the others at once:
//! nothing has to be installed in the cluster, and no node is ever NotReady for want of a
//! network.

use futures::future::try_join_all;

use crate::cluster::{
    STEP,
    kubeadm::{POD_SUBNET, SERVICE_SUBNET, node_subnet},
};
use kubenest_base::Result;
use kubenest_docker::FileEntry;
use kubenest_forge::image::{NETWORK, NETWORK_SCRIPT};
use kubenest_node::node::Node;

/// Sets up every node's network.
pub(in crate::cluster) async fn set_up(nodes: &[Node]) -> Result<()> {
    try_join_all(
        nodes
            .iter()
            .enumerate()
            .map(|(index, node)| one(nodes, index, node)),
    )
    .await?;
    Ok(())
}

async fn one(nodes: &[Node], index: usize, node: &Node) -> Result<()> {
    // Written anew for node images that lack it.
    let script = FileEntry::new(NETWORK_SCRIPT, NETWORK).with_mode(0o755);
    let node = node.within(STEP);
    node.write_files(&[script]).await?;
    let subnets = [
        POD_SUBNET.to_owned(),
        SERVICE_SUBNET.to_owned(),
        node_subnet(index),
    ];
    let mut argv = vec![NETWORK_SCRIPT.to_owned()];
    argv.extend(subnets);
    let others = nodes
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index);
    argv.extend(others.map(|(other, node)| format!("{}={}", node_subnet(other), node.ip())));
    node.exec_ok(&argv).await?;
    Ok(())
}
