//! Sets up the pod network before the kubelets ask for it.
//!
//! All nodes are known, so each gets its subnet and the routes to the others at once. Nothing has
//! to be installed in the cluster, and no node is ever NotReady because it lacks a network.

use futures::future::try_join_all;

use crate::cluster::{STEP, addresses::Addresses};
use kubenest_base::Result;
use kubenest_docker::FileEntry;
use kubenest_forge::image::{NETWORK, NETWORK_SCRIPT};
use kubenest_node::node::Node;

/// Sets up every node's network.
pub(in crate::cluster) async fn set_up(nodes: &[Node], addresses: Addresses) -> Result<()> {
    let all = (0..nodes.len()).map(|index| set_up_node(nodes, index, addresses));
    try_join_all(all).await?;
    Ok(())
}

async fn set_up_node(nodes: &[Node], index: usize, addresses: Addresses) -> Result<()> {
    // The script is always written, because some node images lack it.
    let script = FileEntry::new(NETWORK_SCRIPT, NETWORK).with_mode(0o755);
    let node = nodes[index].within(STEP);
    node.write_files(&[script]).await?;
    let subnets = [
        addresses.pods(),
        addresses.services(),
        addresses.pods_of_node(index),
    ];
    let mut argv = vec![NETWORK_SCRIPT.to_owned()];
    argv.extend(subnets.map(String::from));
    let others = nodes
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index);
    let routes = others.map(|(other, node)| (addresses.pods_of_node(other), node.ip()));
    argv.extend(routes.map(|(subnet, ip)| format!("{subnet}={ip}")));
    node.exec_ok(&argv).await?;
    if node.docker().is_nested() {
        let script = include_str!("pod-mtu.sh");
        node.exec_ok(&["bash", "-c", script]).await?;
    }
    Ok(())
}
