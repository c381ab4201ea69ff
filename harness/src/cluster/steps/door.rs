//! The door of the API server: while the API server starts, it holds connections to it open instead
//! of letting the kernel refuse them.
//!
//! A component that is refused waits longer and longer before it tries again, each by a rule of its
//! own, and the controller manager exits after ten seconds. A connection that is held is served in
//! the moment in which the API server can serve. The clients give a connection ten seconds for its
//! TLS handshake; one that is held for longer fails, and its client is soon back.
//!
//! The door is a proxy in the node, to which rules of the node's packet filter lead. When it opens,
//! they let what waits through to the API server, and what comes later does not meet the door.
//!
//! Another rule leads pods on the node from the address of the API server's Service to the API
//! server, until kube-proxy does that. So CoreDNS can start beside kube-proxy instead of after it.

use kube::Client;

use super::api_server;
use crate::cluster::{
    STEP,
    addresses::{API_PORT, Addresses},
};
use kubenest_base::Result;
use kubenest_docker::FileEntry;
use kubenest_node::node::Node;

const SERVICE: &str = "/etc/systemd/system/kubenest-door.service";
const SCRIPT: &str = "/kind/door";

/// The files that a node needs before it starts.
pub(in crate::cluster) fn files() -> [FileEntry; 2] {
    [
        FileEntry::new(SERVICE, include_str!("door.service")),
        FileEntry::new(SCRIPT, include_str!("door.sh")).with_mode(0o755),
    ]
}

/// Closes the door of the API server that will run on this node, and opens the detour to its
/// Service.
pub(in crate::cluster) async fn close(node: &Node, addresses: Addresses) -> Result<()> {
    run(node, "close", addresses).await
}

/// Opens the door when the API server is ready; the client must be allowed to ask before any role
/// exists.
pub(in crate::cluster) async fn open_when_ready(
    client: &Client,
    node: &Node,
    addresses: Addresses,
) -> Result<()> {
    api_server::wait_ready(client, node).await?;
    run(node, "open", addresses).await
}

/// Ends the detour: from now on only kube-proxy leads to the API server's Service.
pub(in crate::cluster) async fn end_detour(node: &Node, addresses: Addresses) -> Result<()> {
    run(node, "end-detour", addresses).await
}

async fn run(node: &Node, verb: &str, addresses: Addresses) -> Result<()> {
    let (address, port) = (node.ip().to_string(), API_PORT.to_string());
    let service = addresses.api_service().to_string();
    let argv = [SCRIPT, verb, &address, &port, &service];
    node.within(STEP).exec_ok(&argv).await?;
    Ok(())
}
