//! A port of a node whose connections this process serves.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, Lines};

use super::{Node, NodeStream};
use kubenest_base::{Context, Error, Result, wait};

/// How long a node may take to listen.
const BEGIN: Duration = Duration::from_secs(60);

/// A TCP port on a node's own 127.0.0.1. Its connections come to this process through the engine, so
/// that nothing listens on this machine, and the engine may be elsewhere. The node stops listening
/// when this is dropped, and when this process ends.
#[derive(Debug)]
pub struct NodeListener {
    node: Node,
    port: u16,
    /// What the listener in the node tells. The node stops listening when this stream ends.
    told: Lines<BufReader<DuplexStream>>,
}

/// A connection that waits in the node. It is reset when nobody fetches it within ten seconds.
#[derive(Debug)]
pub struct Incoming {
    node: Node,
    socket: String,
}

/// What socat tells of itself, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
enum Note {
    Port(u16),
    Connection(String),
}

impl Node {
    /// Listens at a free port of the node's own 127.0.0.1. It works in the current runtime, and ends
    /// with it.
    ///
    /// # Errors
    /// The node does not run, or the engine does not answer.
    ///
    /// ```no_run
    /// # async fn example(node: &kubenest_node::node::Node) -> kubenest_base::Result<()> {
    /// let mut listener = node.listen().await?;
    /// while let Some(connection) = listener.accept().await {
    ///     let stream = connection.fetch().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn listen(&self) -> Result<NodeListener> {
        let argv = ["bash", "-c", include_str!("listen.sh")];
        let what = || format!("listen in node '{self}'");
        let pipe = self.docker.pipe(&self.name, &argv).await;
        let mut told = BufReader::new(pipe.with_context(what)?).lines();
        let port = wait::within("the listener's port", BEGIN, async {
            loop {
                match told.next_line().await.context("read its notes")? {
                    Some(line) => {
                        if let Some(Note::Port(port)) = note(&line) {
                            return Ok(port);
                        }
                    }
                    None => return Err(Error::setup("socat ended before it listened")),
                }
            }
        });
        let port = port.await.with_context(what)?;
        Ok(NodeListener {
            node: self.clone(),
            port,
            told,
        })
    }
}

impl NodeListener {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a connection. `None` when the node no longer listens.
    pub async fn accept(&mut self) -> Option<Incoming> {
        while let Ok(Some(line)) = self.told.next_line().await {
            if let Some(Note::Connection(socket)) = note(&line) {
                let node = self.node.clone();
                return Some(Incoming { node, socket });
            }
        }
        None
    }
}

impl Incoming {
    /// The connection's byte stream.
    ///
    /// # Errors
    /// The client has gone, or the engine does not answer.
    pub async fn fetch(self) -> Result<NodeStream> {
        self.node.dial(&self.socket).await
    }
}

/// Reads a line of socat's notes: `2026/01/01 00:00:00 socat[9] N listening on AF=2 127.0.0.1:80`.
fn note(line: &str) -> Option<Note> {
    let (_, address) = line.split_once(" N listening on AF=")?;
    match address.split_once(' ')? {
        ("2", address) => address.rsplit_once(':')?.1.parse().ok().map(Note::Port),
        ("1", path) => Some(Note::Connection(path.trim_matches('"').to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes of socat 1.7.4.4.
    #[test]
    fn the_notes_of_socat_tell_the_port_and_each_connection() {
        let notes = "\
2026/11/30 09:59:18 socat[14] W ioctl(5, IOCTL_VM_SOCKETS_GET_LOCAL_CID, ...): Inappropriate ioctl
2026/11/30 09:59:18 socat[14] N listening on AF=2 127.0.0.1:52719
2026/11/30 09:59:18 socat[14] N accepting connection from AF=2 127.0.0.1:57662 on AF=2 127.0.0.1:52719
2026/11/30 09:59:18 socat[14] N forked off child process 29
2026/11/30 09:59:18 socat[30] N listening on AF=1 \"/run/kubenest-listener-Zb1cQ2/30\"
2026/11/30 09:59:18 socat[30] N reading from and writing to stdio
";
        let told: Vec<_> = notes.lines().filter_map(note).collect();
        let socket = "/run/kubenest-listener-Zb1cQ2/30".to_owned();
        assert_eq!(told, [Note::Port(52719), Note::Connection(socket)]);
    }
}
