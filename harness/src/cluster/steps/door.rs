//! The door of the API server: while the API server starts, it holds requests to it instead of
//! letting the kernel refuse their connections.
//!
//! A component that is refused waits longer and longer before it tries again, each by a rule of its
//! own, and the controller manager exits after ten seconds. Holding a connection is not enough: its
//! client gives it ten seconds for the TLS handshake. So the door serves with the API server's
//! certificate, holds each request, and answers what Kubernetes' own client follows by itself:
//!
//! - A kubelet needs no role. As soon as the API server serves, its requests are redirected there.
//! - All others are to be sent again when the door opens, once those who send them have rights.
//! - The question for the API server's health, on which the controller manager waits, is answered when
//!   the door opens: the API server itself would not call itself healthy for another second.
//!
//! The door is a server in the node, to which a rule of the node's packet filter leads. When it opens,
//! the rule goes, and what is sent from then on does not meet the door.
//!
//! Another rule leads pods on the node from the address of the API server's Service to the API
//! server, until kube-proxy does that. So CoreDNS can start beside kube-proxy instead of after it.

use std::time::Duration;

use crate::cluster::{
    SLOW, STEP,
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
    run(node, "close", addresses, STEP).await
}

/// Opens the door.
pub(in crate::cluster) async fn open(node: &Node, addresses: Addresses) -> Result<()> {
    run(node, "open", addresses, STEP).await
}

/// Ends the detour when kube-proxy leads to the API server's Service; only it does from now on.
pub(in crate::cluster) async fn end_detour(node: &Node, addresses: Addresses) -> Result<()> {
    run(node, "end-detour", addresses, SLOW).await
}

async fn run(node: &Node, verb: &str, addresses: Addresses, deadline: Duration) -> Result<()> {
    let (address, port) = (node.ip().to_string(), API_PORT.to_string());
    let service = addresses.api_service().to_string();
    let argv = [SCRIPT, verb, &address, &port, &service];
    node.within(deadline).exec_ok(&argv).await?;
    Ok(())
}
