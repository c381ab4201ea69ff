//! A node: run a command, read a file, reach a socket.

pub mod containerd;
pub mod cri;
mod found;

use std::{
    fmt,
    net::IpAddr,
    path::PathBuf,
    pin::Pin,
    task::{self, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::UnixStream,
};

pub(crate) use self::found::{KIND_CLUSTER, KIND_ROLE, found};
pub use self::found::{clusters, of_cluster};
use crate::{
    Context, Error, Result,
    docker::{Docker, ExecOutput, FileEntry},
};

/// What a node does in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the control plane; the first one is made by `kubeadm init`.
    ControlPlane,
    /// Runs workloads only.
    Worker,
}

impl Role {
    /// As in labels and names: `control-plane` or `worker`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Worker => "worker",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::ControlPlane, Self::Worker]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

/// A running node: a container that behaves like a machine.
#[derive(Debug, Clone)]
pub struct Node {
    docker: Docker,
    name: String,
    role: Role,
    pid: i32,
    ip: IpAddr,
}

impl Node {
    /// The running container of this name, as a node.
    ///
    /// # Errors
    /// No such container, or it has ended: the error has its last words.
    pub async fn attach(docker: &Docker, name: &str, role: Role) -> Result<Self> {
        let state = docker
            .container(name)
            .await?
            .ok_or_else(|| Error::not_found(format!("no node container '{name}'")))?;
        let ip = match state.ip {
            Some(ip) if state.running => ip,
            _ => {
                let words = docker.logs(name, 20).await.unwrap_or_default();
                let code = state.exit_code;
                return Err(Error::setup(format!(
                    "node '{name}' does not run (exit code {code}): {}",
                    words.trim()
                )));
            }
        };
        let docker = docker.clone();
        Ok(Self {
            docker,
            name: name.to_owned(),
            role,
            pid: state.pid,
            ip,
        })
    }

    /// The name: of the container, and of the Kubernetes node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does in its cluster.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its address on the cluster's network.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The engine it runs on.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Runs a command to its end, whatever its status.
    ///
    /// # Errors
    /// The node does not run, or the engine does not answer.
    pub async fn exec(&self, argv: &[impl AsRef<str> + Sync]) -> Result<ExecOutput> {
        self.docker.exec(&self.name, argv, None).await
    }

    /// Runs a command and demands success.
    ///
    /// # Errors
    /// The command fails: the error has the command, its status and its last lines.
    pub async fn exec_ok(&self, argv: &[impl AsRef<str> + Sync]) -> Result<ExecOutput> {
        self.docker.exec_ok(&self.name, argv, None).await
    }

    /// Runs a command with something on its standard input and demands success.
    ///
    /// # Errors
    /// As [`exec_ok`](Node::exec_ok).
    pub async fn exec_with(
        &self,
        argv: &[impl AsRef<str> + Sync],
        stdin: Vec<u8>,
    ) -> Result<ExecOutput> {
        self.docker.exec_ok(&self.name, argv, Some(stdin)).await
    }

    /// A file of the running node, mounts and all.
    ///
    /// # Errors
    /// No such file.
    pub async fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.exec_ok(&["cat", "--", path]).await?.stdout)
    }

    /// Writes files into the running node; folders on the way are made.
    ///
    /// # Errors
    /// A path that is not absolute, or a full disk.
    pub async fn write_files(&self, files: &[FileEntry]) -> Result<()> {
        // Unpacked inside, where the node's own mounts (/var, /run, /tmp) are in place.
        let archive = crate::docker::pack(files)?;
        self.exec_with(&["tar", "-C", "/", "-xf", "-"], archive)
            .await?;
        Ok(())
    }

    /// The node's root folder as this machine sees it, if its engine is on this machine.
    fn root(&self) -> Option<String> {
        self.docker.socket()?;
        let root = format!("/proc/{}/root", self.pid);
        // Behind a forwarded socket the number is some other process of this machine.
        let host = std::fs::read_to_string(format!("{root}/etc/hostname")).ok()?;
        (self.pid > 0 && host.trim() == self.name).then_some(root)
    }

    /// A byte stream to a unix socket inside the node.
    ///
    /// On a local engine the socket is reached through the node's root folder in `/proc`;
    /// on a remote one through `socat` over an attached exec.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn dial(&self, socket: &str) -> Result<NodeStream> {
        if let Some(root) = self.root() {
            let path = PathBuf::from(format!("{root}{socket}"));
            if let Ok(stream) = UnixStream::connect(&path).await {
                return Ok(NodeStream::Direct(stream));
            }
        }
        let target = format!("UNIX-CONNECT:{socket}");
        let argv = ["socat", "-", target.as_str()];
        let stream = self
            .docker
            .pipe(&self.name, &argv)
            .await
            .with_context(|| format!("reach '{socket}' of node '{}'", self.name))?;
        Ok(NodeStream::Piped(stream))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A connection to a socket inside a node.
#[derive(Debug)]
pub enum NodeStream {
    /// Through `/proc`, on a local engine.
    Direct(UnixStream),
    /// Through an attached exec.
    Piped(DuplexStream),
}

impl AsyncRead for NodeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Piped(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Piped(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
            Self::Piped(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Piped(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
