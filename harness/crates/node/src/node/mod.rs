//! A node: run a command, read a file, reach a socket.

pub mod containerd;
pub mod cri;
mod found;
mod grpc;
mod listen;
#[cfg(test)]
pub(crate) mod recorded;
mod runtime;
mod self_signed;

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    net::IpAddr,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    task::{self, Poll},
    time::Duration,
};

use nix::fcntl::OFlag;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::UnixStream,
};

use self::{containerd::Containerd, cri::Cri};
pub use self::{
    found::{KIND_CLUSTER, KIND_ROLE, clusters, found, of_cluster},
    listen::{Incoming, NodeListener},
    runtime::{RUNTIME, Runtime},
    self_signed::SelfSigned,
};
use kubenest_base::{Context, Error, Result, file};
use kubenest_docker::{Docker, ExecOutput, FileEntry, RUN};

/// A size limit above the longest host name.
const HOST_NAME_LIMIT: u64 = 1024;

/// The role of a node in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the control plane; the first one is made by `kubeadm init`.
    ControlPlane,
    /// Runs workloads only.
    Worker,
}

impl Role {
    /// The role as labels and names have it: `control-plane` or `worker`.
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
    runtime: Runtime,
    pid: i32,
    ip: IpAddr,
    deadline: Duration,
}

impl Node {
    /// The running container of this name, as a node.
    ///
    /// # Errors
    /// No such container, or it has ended; the error has the last lines of its log.
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
            runtime: Runtime::of_labels(&state.labels),
            pid: state.pid,
            ip,
            deadline: RUN,
        })
    }

    /// The name of the container, which is also that of the Kubernetes node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's role in its cluster.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The runtime of the node's containers.
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// Its address on the cluster's network.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The engine that runs the node.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Its name behind those of the clusters around its engine, the outermost first, with slashes
    /// between them: `outer/inner-worker` where `inner` is nested in a pod of `outer`.
    pub fn path(&self) -> String {
        match self.docker.around() {
            Some(around) => format!("{around}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The same node with another deadline for each command in it; the default is 15 minutes.
    ///
    /// ```no_run
    /// # async fn example(node: &kubenest_node::node::Node) -> kubenest_base::Result<()> {
    /// let soon = std::time::Duration::from_secs(10);
    /// node.within(soon).exec_ok(&["crictl", "ps"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// Runs a command to its end and accepts any exit status.
    ///
    /// # Errors
    /// The node does not run, the engine does not answer, or the command does not end in time; the
    /// error then has the last line that the command wrote.
    pub async fn exec(&self, argv: &[impl AsRef<str> + Sync]) -> Result<ExecOutput> {
        self.run(argv, None).await
    }

    async fn run(
        &self,
        argv: &[impl AsRef<str> + Sync],
        stdin: Option<Vec<u8>>,
    ) -> Result<ExecOutput> {
        let Self {
            docker,
            name,
            deadline,
            ..
        } = self;
        docker.exec_within(name, argv, stdin, *deadline).await
    }

    /// Runs a command and expects it to succeed.
    ///
    /// # Errors
    /// The command fails; the error has the command, its status and its last lines.
    pub async fn exec_ok(&self, argv: &[impl AsRef<str> + Sync]) -> Result<ExecOutput> {
        self.run(argv, None).await?.demand(&self.name, argv)
    }

    /// Runs a command with the given standard input and expects it to succeed.
    ///
    /// # Errors
    /// As [`exec_ok`](Node::exec_ok).
    pub async fn exec_with(
        &self,
        argv: &[impl AsRef<str> + Sync],
        stdin: Vec<u8>,
    ) -> Result<ExecOutput> {
        self.run(argv, Some(stdin)).await?.demand(&self.name, argv)
    }

    /// The content of a file in the running node, as its processes see it through all mounts.
    ///
    /// # Errors
    /// No such file.
    pub async fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.exec_ok(&["cat", "--", path]).await?.stdout)
    }

    /// Writes files into the running node and makes missing folders.
    ///
    /// # Errors
    /// A path that is not absolute, or a full disk.
    pub async fn write_files(&self, files: &[FileEntry]) -> Result<()> {
        // The archive is unpacked inside the node, where the node's own mounts (/var, /run, /tmp)
        // are visible.
        let archive = kubenest_docker::pack(files)?;
        self.exec_with(&["tar", "-C", "/", "-xf", "-"], archive)
            .await?;
        Ok(())
    }

    /// The node's root folder in this machine's `/proc`, if the engine is on this machine.
    fn root(&self) -> Option<File> {
        let root = root_of(self.docker.root()?, self.pid)?;
        // With an engine behind a forwarded socket, the pid belongs to another process of this
        // machine, so compare the host name.
        let host = file::open_inside(&root, Path::new("/etc/hostname"), OFlag::O_NONBLOCK);
        let host = io::read_to_string(host.ok()?.take(HOST_NAME_LIMIT)).ok()?;
        (host.trim() == self.name).then_some(root)
    }

    /// The path by which this machine sees the root folder of one of the node's processes, which the
    /// node knows by this number. `None` if the engine is on another machine.
    pub fn root_of_process(&self, pid: i32) -> Option<PathBuf> {
        self.root()?;
        Some(path_of(&path_of(self.docker.root()?, self.pid), pid))
    }

    /// A client of the node's container runtime interface, as the kubelet is one.
    ///
    /// # Errors
    /// The runtime does not answer within ten seconds.
    pub async fn cri(&self) -> Result<Cri> {
        let cri = Cri::open(self).await?;
        // A stream through a remote engine opens even if nobody listens at its other end, so ask
        // once.
        cri.version().await?;
        Ok(cri)
    }

    /// A client of containerd's own services.
    ///
    /// # Errors
    /// The node has another runtime, or its containerd does not answer within ten seconds.
    pub async fn containerd(&self) -> Result<Containerd> {
        match self.runtime {
            Runtime::Containerd => {
                let stream = self.dial(self.runtime.socket()).await?;
                Containerd::over(&self.name, stream).await
            }
            Runtime::CriO => Err(Error::input(format!(
                "node '{self}' has the runtime {}: it has no containerd to ask",
                self.runtime
            ))
            .cure("use a recipe with containerd for what only containerd can do")),
        }
    }

    /// Checks that the node's runtime answers, whatever the answer is: a containerd whose CRI
    /// plugin is broken still counts.
    ///
    /// # Errors
    /// The runtime does not answer within ten seconds.
    pub async fn reach_runtime(&self) -> Result<()> {
        match self.runtime {
            Runtime::Containerd => self.containerd().await.map(drop),
            Runtime::CriO => self.cri().await.map(drop),
        }
    }

    /// A byte stream to a unix socket inside the node.
    ///
    /// On a local engine the socket is reached through the node's root folder in `/proc`;
    /// on a remote one through `socat` over an attached exec.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn dial(&self, socket: &str) -> Result<NodeStream> {
        if let Some(root) = self.root()
            && let Ok(stream) = connect_inside(&root, Path::new(socket)).await
        {
            return Ok(NodeStream::Direct(stream));
        }
        let stream = self.pipe(&format!("UNIX-CONNECT:{socket}")).await?;
        Ok(NodeStream::Piped(stream))
    }

    /// A byte stream to a TCP port of the node, through an attached exec. It works even if this
    /// machine cannot reach the node's addresses.
    ///
    /// # Errors
    /// The node does not run, or the engine does not answer; a stream that ends at once when
    /// nothing listens there.
    pub async fn dial_port(&self, port: u16) -> Result<DuplexStream> {
        self.pipe(&format!("TCP:127.0.0.1:{port}")).await
    }

    /// A byte stream to an address in socat's syntax, as the node sees it.
    async fn pipe(&self, address: &str) -> Result<DuplexStream> {
        self.docker
            .pipe(&self.name, &["socat", "-", address])
            .await
            .with_context(|| format!("reach '{address}' of node '{}'", self.name))
    }
}

/// The root folder of a process that an engine with this root names by this number.
fn root_of(engine: &Path, pid: i32) -> Option<File> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut folder = File::options();
    folder.read(true).custom_flags(flags.bits());
    let folder = folder.open(path_of(engine, pid));
    folder.ok().filter(|_| pid > 0)
}

fn path_of(root: &Path, pid: i32) -> PathBuf {
    root.join(format!("proc/{pid}/root"))
}

/// Connects to a unix socket by its path below a root folder. Links on the path are resolved as the
/// processes with that root resolve them: `/var/run` is a link to `/run`, which must not become
/// this machine's `/run`.
async fn connect_inside(root: &File, socket: &Path) -> io::Result<UnixStream> {
    let socket = file::open_inside(root, socket, OFlag::O_PATH)?;
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use super::*;

    /// A root folder with the links of a Debian node, and a folder outside it.
    fn root() -> (tempfile::TempDir, tempfile::TempDir) {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in ["run", "var"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        symlink("/run", root.path().join("var/run")).unwrap();
        symlink(outside.path(), root.path().join("var/out")).unwrap();
        (root, outside)
    }

    #[tokio::test]
    async fn an_absolute_link_on_the_way_starts_at_the_nodes_root() {
        let (root, _outside) = root();
        let _inside = UnixListener::bind(root.path().join("run/a.sock")).unwrap();
        let folder = File::open(root.path()).unwrap();
        for path in [
            "/run/a.sock",
            "/var/run/a.sock",
            "/var/run/../../run/a.sock",
        ] {
            let connected = connect_inside(&folder, Path::new(path)).await;
            assert!(connected.is_ok(), "{path}: {connected:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_of_this_machine_is_out_of_reach() {
        let (root, outside) = root();
        let _listener = UnixListener::bind(outside.path().join("b.sock")).unwrap();
        let folder = File::open(root.path()).unwrap();
        let absolute = outside.path().join("b.sock");
        for path in [Path::new("/var/out/b.sock"), &absolute] {
            let error = connect_inside(&folder, path).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}", path.display());
        }
        // The kernel's own links in `/proc` would lead out of the root again.
        symlink("/proc/self/root", root.path().join("var/magic")).unwrap();
        let magic = format!("/var/magic{}", absolute.display());
        assert!(connect_inside(&folder, Path::new(&magic)).await.is_err());
    }

    #[tokio::test]
    async fn the_root_of_a_process_is_opened_as_it_sees_it() {
        let own = i32::try_from(std::process::id()).unwrap();
        let here = Path::new("/");
        let root = root_of(here, own).unwrap();
        let (_root, outside) = super::tests::root();
        let path = outside.path().join("c.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(connect_inside(&root, &path).await.is_ok());
        assert!(root_of(here, 0).is_none() && root_of(here, -1).is_none());
    }
}
