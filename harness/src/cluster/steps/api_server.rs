//! The API server: waits until it answers, and finds a way to it from this machine.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use kube::Client;
use tokio::net::TcpStream;

use super::parts;
use crate::cluster::{
    SLOW, STEP, addresses::API_PORT, clients::Clients, kubeconfig, tunnel::Tunnel,
};
use kubenest_base::{
    Context, Result, progress,
    wait::{self, Probe},
};
use kubenest_node::node::Node;

/// How long the API server may take to say whether it is ready.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an API server may refuse requests here before it is suspected to be another cluster's.
const LONG: Duration = Duration::from_secs(20);
/// Errors of a client for a certificate that another cluster's authority has signed.
const STRANGERS: [&str; 2] = ["UnknownIssuer", "BadSignature"];
/// The longest pause between two looks at an API server on whose answer a whole cluster waits.
const PAUSE: Duration = Duration::from_millis(25);
/// How long a port of this machine may take to answer.
const CONNECT: Duration = Duration::from_secs(2);

/// An API server that has answered, and the ways to it.
pub(in crate::cluster) struct ApiServer {
    pub(in crate::cluster) kubeconfig: PathBuf,
    pub(in crate::cluster) clients: Clients,
    /// The port of this machine that leads to it.
    pub(in crate::cluster) port: u16,
    /// The tunnel to it, if its port is not on this machine.
    pub(in crate::cluster) tunnel: Option<Tunnel>,
}

/// Waits until the API server on a node says to this client that it is ready.
pub(in crate::cluster) async fn wait_ready(client: &Client, node: &Node) -> Result<()> {
    let what = "the API server to be ready";
    let waited = wait::until_with(PAUSE, what, SLOW, async || ready(client).await);
    parts::explain(waited.await, node, &parts::CONTROL_PLANE).await
}

/// Waits for the API server on a node to answer; it may not be started yet. It is reached at the
/// port that the engine has given it on 127.0.0.1 or, if that address belongs to another machine or
/// network, through its node.
pub(in crate::cluster) async fn reach(name: &str, node: &Node, port: u16) -> Result<ApiServer> {
    let written = wait::until("kubeadm's admin.conf", SLOW, async || {
        let read = kubeconfig::read(node).await;
        // The file may be written only in part.
        Probe::from_result(read.and_then(|admin| {
            let path = kubeconfig::write(node.docker().settings(), name, &admin, port)?;
            Ok((admin, path))
        }))
    });
    let (admin, kubeconfig) = written.await?;
    if node.docker().is_nested() {
        return reach_through(name, node, port, &admin).await;
    }
    let clients = Clients::new(kubeconfig::config(&kubeconfig).await?)?;
    let client = clients.here();
    let begun = Instant::now();
    let look = async || match answers(&client).await {
        Probe::Pending(seen) if is_elsewhere(node, port, &seen, begun).await => {
            // The API server may have come up in between.
            Probe::Ready(matches!(answers(&client).await, Probe::Ready(())))
        }
        Probe::Pending(seen) => Probe::Pending(seen),
        Probe::Failed(error) => Probe::Failed(error),
        Probe::Ready(()) => Probe::Ready(true),
    };
    let near = wait::until_with(PAUSE, "the API server to answer", SLOW, look);
    if parts::explain(near.await, node, &parts::CONTROL_PLANE).await? {
        return Ok(ApiServer {
            kubeconfig,
            clients,
            port,
            tunnel: None,
        });
    }
    progress!(
        "127.0.0.1:{port} is on the engine's machine: the API server is reached through '{node}'"
    );
    reach_through(name, node, port, &admin).await
}

/// Waits for the API server to answer through its node.
async fn reach_through(name: &str, node: &Node, port: u16, admin: &str) -> Result<ApiServer> {
    let tunnel = Tunnel::open(node, port).await?;
    let kubeconfig = kubeconfig::write(node.docker().settings(), name, admin, tunnel.port)?;
    let clients = Clients::new(kubeconfig::config(&kubeconfig).await?)?;
    let client = clients.here();
    let what = "the API server to answer, through its node";
    let answered = wait::until_with(PAUSE, what, SLOW, async || answers(&client).await);
    parts::explain(answered.await, node, &parts::CONTROL_PLANE).await?;
    Ok(ApiServer {
        kubeconfig,
        clients,
        port: tunnel.port,
        tunnel: Some(tunnel),
    })
}

/// Whether the engine's 127.0.0.1 seems to belong to another machine. Either nothing listens at the
/// port here, although something does in the node. Or another server listens here, as its
/// certificate shows, or as long refusals show while the node's own server is ready. On this
/// machine's engine the port listens from the start, or leads into the node.
async fn is_elsewhere(node: &Node, port: u16, seen: &str, begun: Instant) -> bool {
    if STRANGERS.iter().any(|words| seen.contains(words)) || refuses(port).await {
        return listens(node).await;
    }
    begun.elapsed() > wait::scaled(LONG) && is_ready_inside(node).await
}

async fn refuses(port: u16) -> bool {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let stream = wait::at_most(CONNECT, stream).await;
    stream.is_some_and(|stream| stream.is_err())
}

async fn is_ready_inside(node: &Node) -> bool {
    // At its own address it may be behind a closed door.
    let server = format!("--server=https://127.0.0.1:{API_PORT}");
    let argv = [
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
        &server,
        "get",
        "--raw=/readyz",
    ];
    let asked = node.within(STEP).exec(&argv).await;
    asked.is_ok_and(|output| output.text() == "ok")
}

/// Whether something listens at the API server's port in the node.
async fn listens(node: &Node) -> bool {
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{API_PORT}");
    let asked = node
        .within(STEP)
        .exec(&["bash", "-c", script.as_str()])
        .await;
    asked.is_ok_and(|output| output.status == 0)
}

/// Whether the API server gives any answer, be it a refusal.
async fn answers(client: &Client) -> Probe<()> {
    match readiness(client).await {
        Some(Ok(_) | Err(kube::Error::Api(_))) => Probe::Ready(()),
        seen => unready(seen),
    }
}

async fn ready(client: &Client) -> Probe<()> {
    match readiness(client).await {
        Some(Ok(text)) if text == "ok" => Probe::Ready(()),
        seen => unready(seen),
    }
}

fn unready(seen: Option<kube::Result<String>>) -> Probe<()> {
    match seen {
        Some(Ok(text)) => Probe::Pending(text),
        Some(Err(error)) => Probe::from_result(Err(error).context("ask for /readyz")),
        None => Probe::Pending(format!("no answer in {:.0?}", wait::scaled(ANSWER))),
    }
}

/// What the API server says of its readiness; `None` if it says nothing.
async fn readiness(client: &Client) -> Option<kube::Result<String>> {
    let request = http::Request::get("/readyz").body(Vec::new());
    let request = request.expect("a constant path must make a request");
    wait::at_most(ANSWER, client.request_text(request)).await
}
