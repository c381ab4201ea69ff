//! The door of the API server: while the API server starts, it holds requests to it instead of
//! letting the kernel refuse their connections.
//!
//! A component that is refused waits longer and longer before it tries again, each by a rule of its
//! own, and the controller manager exits after ten seconds. Holding a connection is not enough: its
//! client gives it ten seconds for the TLS handshake. So the door serves with the API server's
//! certificate, holds each request, and answers what Kubernetes' own client follows by itself:
//!
//! - A kubelet needs no role. As soon as the API server serves, requests of the one beside it are
//!   redirected there.
//! - All others are to be sent again when the door opens, once those who send them have rights.
//! - The question for the API server's health, on which the controller manager waits, is answered when
//!   the door opens: the API server itself would not call itself healthy for another second.
//!
//! The door is a server in the node, to which a rule of the node's packet filter leads. When it opens,
//! the rule goes, and what is sent from then on does not meet the door.
//!
//! Another rule, on each node, leads its pods from the address of the API server's Service to the API
//! server, until kube-proxy does that. So CoreDNS can start beside kube-proxy instead of after it.

use std::time::Duration;

use futures::future::try_join_all;

use super::parts;
use crate::cluster::{
    SLOW, STEP,
    addresses::{API_PORT, Addresses},
    nodes::Nodes,
};
use kubenest_base::{Result, wait};
use kubenest_docker::FileEntry;
use kubenest_node::node::Node;

const SERVICE: &str = "/etc/systemd/system/kubenest-door@.service";
const SCRIPT: &str = "/kind/door";

/// The files that a node needs before it starts.
pub(in crate::cluster) fn files() -> [FileEntry; 2] {
    [
        FileEntry::new(SERVICE, include_str!("door.service")),
        FileEntry::new(SCRIPT, include_str!("door.sh")).with_mode(0o755),
    ]
}

/// Closes the door of the API server that will run on the control plane's node, to all nodes, and opens
/// the detour to its Service on each.
pub(in crate::cluster) async fn close(nodes: &Nodes, addresses: Addresses) -> Result<()> {
    let detours = nodes
        .iter()
        .map(|node| detour(nodes, node, "detour", addresses, STEP));
    tokio::try_join!(move_door(nodes, "close"), try_join_all(detours))?;
    Ok(())
}

/// Opens the door.
pub(in crate::cluster) async fn open(nodes: &Nodes) -> Result<()> {
    move_door(nodes, "open").await
}

/// Ends the detour on each node when kube-proxy leads to the API server's Service there; only that does
/// from now on.
pub(in crate::cluster) async fn end_detours(nodes: &Nodes, addresses: Addresses) -> Result<()> {
    let ends = nodes.iter().map(|node| async move {
        let ended = detour(nodes, node, "end-detour", addresses, SLOW).await;
        parts::explain(ended, node, &["kube-proxy"]).await
    });
    try_join_all(ends).await.map(drop)
}

async fn move_door(nodes: &Nodes, verb: &str) -> Result<()> {
    let node = nodes.control_plane();
    let mut argv = vec![SCRIPT.to_owned(), verb.to_owned(), node.ip().to_string()];
    argv.push(API_PORT.to_string());
    argv.extend(nodes.workers().map(|worker| worker.ip().to_string()));
    node.within(STEP).exec_ok(&argv).await.map(drop)
}

async fn detour(
    nodes: &Nodes,
    node: &Node,
    verb: &str,
    addresses: Addresses,
    deadline: Duration,
) -> Result<()> {
    let (address, port) = (nodes.control_plane().ip().to_string(), API_PORT.to_string());
    let service = addresses.api_service().to_string();
    // A process in a node does not end when nobody waits for it any more.
    let seconds = wait::scaled(deadline).as_secs().to_string();
    let argv = ["timeout", &seconds, SCRIPT, verb, &address, &port, &service];
    node.within(deadline).exec_ok(&argv).await.map(drop)
}
