//! The way to an API server whose port is on another machine, or in another network: through its
//! node, as its runtime is reached.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};

use super::addresses::API_PORT;
use kubenest_base::{
    Context, Result,
    background::{self, Working},
    wait,
};
use kubenest_node::node::Node;

/// A port of 127.0.0.1 here that leads to the API server, for as long as this lives.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// The port here.
    pub(super) port: u16,
    /// The port that the engine gave it, on 127.0.0.1 there.
    pub(super) published: u16,
    _serving: Working,
}

impl Tunnel {
    /// Opens one to the API server in this node.
    pub(super) async fn open(node: &Node, published: u16) -> Result<Self> {
        let node = node.clone();
        // Whoever uses the port may do so from another runtime than this one.
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
        // The client sees that its connection ends, and tries again.
        Err(error) => tracing::debug!("{}", error.report()),
    }
}
