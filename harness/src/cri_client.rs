//! A client of the Kubernetes runtime interface (CRI) by release of its API, as crictl is one.
//!
//! The client reads a pod and a container from JSON as leniently as crictl: what its release
//! of the API does not know is dropped unsaid. That is what makes it a witness of an old
//! client. kubenest itself reads no CRI configuration from text; see [`kubenest_node::node::cri`].

use std::fs;

use crate::lockfile;
use kubenest_base::{Context, Error, Result, store::Store};
use kubenest_docker::{ExecOutput, FileEntry};
use kubenest_forge::component::go;
use kubenest_node::node::Node;
use kubenest_recipe::recipe::GoBuild;

/// A client in a node, for one socket there.
#[derive(Debug, Clone)]
pub struct CriClient<'a> {
    node: &'a Node,
    program: String,
    socket: String,
}

impl<'a> CriClient<'a> {
    /// Puts the client of this cri-api release, for example `0.30.0`, into a node: built from
    /// the released Go module, locked by a committed `go.sum`, and kept in the cache. It will
    /// talk to `socket`.
    ///
    /// # Errors
    /// That release is not among the locked ones, cannot be built, or the node has no room.
    pub async fn install(release: &str, node: &'a Node, socket: &str) -> Result<Self> {
        let release = release.trim_start_matches('v');
        let build = GoBuild::find("kubenest/cri-client", release)?;
        lockfile::hold_tool(&build).await?;
        let entry = go::programs(&Store::default_cache(), &build).await?;
        let content = fs::read(entry.join("cri-client")).context("read the CRI client")?;
        let program = format!("/usr/local/bin/{}", build.name());
        let file = FileEntry {
            path: program.clone(),
            mode: 0o755,
            content,
        };
        node.write_files(&[file]).await?;
        let told = node.exec_ok(&[program.as_str(), "revision"]).await?.text();
        if told.trim() != format!("v{release}") {
            return Err(Error::setup(format!(
                "the CRI client of {release} says that it speaks {}",
                told.trim()
            )));
        }
        Ok(Self {
            node,
            program,
            socket: socket.to_owned(),
        })
    }

    /// The node it is in.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Where its program is in the node.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Runs one of its commands to its end, whatever its status: `runp`, `create`, `start`,
    /// `inspect`, `exec`, `rmp` and `inspecti` take what crictl's take; files are the node's. Answers are
    /// printed as JSON; what the runtime says against it is on standard error.
    ///
    /// # Errors
    /// The node does not run.
    pub async fn call(&self, command: &[&str]) -> Result<ExecOutput> {
        let client = [self.program.as_str(), &self.socket];
        self.node.exec(&[&client, command].concat()).await
    }
}
