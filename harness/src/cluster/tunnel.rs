//! A tunnel to an API server whose port is on another machine or in another network. It goes
//! through the node, in the same way as the runtime is reached.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};

use super::addresses::API_PORT;
use kubenest_base::{
    Context, Result,
    background::{self, Working},
    wait,
};
use kubenest_node::node::Node;

/// A port on this machine's 127.0.0.1 that leads to the API server while this value lives.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// The port on this machine.
    pub(super) port: u16,
    /// The port that the engine published on its own 127.0.0.1.
    pub(super) published: u16,
    _serving: Working,
}

impl Tunnel {
    /// Opens a tunnel to the API server in this node.
    pub(super) async fn open(node: &Node, published: u16) -> Result<Self> {
        let node = node.clone();
        // It runs in the background, because the port may be used from another runtime than the
        // current one.
        let (listener, port) = background::run(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.context("listen on 127.0.0.1")?;
            let port = listener.local_addr().context("the listener's port")?.port();
            Result::Ok((listener, port))
        })
        .await?;
        Ok(Self {
            port,
            published,
            _serving: background::keep(serve(listener, node)),
        })
    }
}

async fn serve(listener: TcpListener, node: Node) {
    loop {
        match listener.accept().await {
            Ok((near, _)) => drop(tokio::spawn(join(near, node.clone()))),
            Err(error) => {
                tracing::debug!("accept a connection: {error}");
                wait::pace(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn join(mut near: TcpStream, node: Node) {
    match node.dial_port(API_PORT).await {
        Ok(mut far) => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
        // The client notices the closed connection and tries again.
        Err(error) => tracing::debug!("{}", error.report()),
    }
}
