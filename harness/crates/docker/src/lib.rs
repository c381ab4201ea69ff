//! The only way to Docker: every call goes through bollard, and no other crate uses bollard.

mod client;
mod container;
pub mod discover;
mod exec;
mod explain;
mod files;
mod image;
mod nature;
mod network;
mod ownership;
mod registry;
mod volume;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use container::{ContainerSpec, ContainerState, SharedVolume};
pub use exec::demux;
pub use exec::{ExecOutput, RUN};
pub use files::FileEntry;
pub use files::pack;
pub use image::ImageInfo;
pub use nature::Nature;
pub use ownership::{
    Guard, Holder, Labels, Lease, LeaseId, LeaseState, Liveness, Owner, ProcessId, Saving, Scope,
    SweepReport, Ward, labels, sweep,
};

use self::{
    discover::{Endpoint, Origin},
    explain::Explain,
};
use kubenest_base::{Result, settings::Settings};

/// A Docker engine that answered.
#[derive(Debug, Clone)]
pub struct Docker {
    raw: client::Client,
    endpoint: Endpoint,
    settings: Arc<Settings>,
}

/// What an engine says of itself.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// The id that no other engine has; empty if it tells none.
    pub id: String,
    /// Its version, for example `26.1.5`.
    pub version: String,
    /// Where it keeps images and containers, by the engine's own path.
    pub data_root: PathBuf,
    /// The same folder by the path that this machine has for it, if the engine is on this machine.
    pub data_root_here: PathBuf,
    /// Its storage driver; `overlayfs` with the containerd image store.
    pub storage_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// It keeps images in containerd (Docker 29's default).
    pub containerd_store: bool,
    /// Each layer's folder holds exactly the files of that layer.
    pub native_diff: bool,
}

impl Docker {
    /// The engine's socket, when the engine is on this machine.
    pub fn socket(&self) -> Option<&Path> {
        self.endpoint.socket()
    }

    /// The engine's file system as this machine sees it: `/`, or the root of the pod in which the
    /// engine runs. `None` when the engine is on another machine.
    pub fn root(&self) -> Option<&Path> {
        self.socket()?;
        Some(match &self.endpoint.origin {
            Origin::Nested(nest) => &nest.root,
            _ => Path::new("/"),
        })
    }

    /// The names of the clusters around an engine in a pod, the outermost first, with slashes between
    /// them.
    pub fn around(&self) -> Option<&str> {
        match &self.endpoint.origin {
            Origin::Nested(nest) => Some(&nest.around),
            _ => None,
        }
    }

    /// Whether the engine runs in a pod of a cluster.
    pub fn is_nested(&self) -> bool {
        matches!(self.endpoint.origin, Origin::Nested(_))
    }

    /// Where the engine listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The settings of the user of this handle.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Labels for a resource of this role that this process makes in its run.
    pub fn labels(&self, role: impl Into<String>) -> Labels {
        Labels::new(role, &self.settings.run)
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn info(&self) -> Result<EngineInfo> {
        let info = self
            .raw
            .info()
            .await
            .explain(|| "ask the engine about itself".into())?;
        let status = |words: &str| {
            let mut rows = info.driver_status.iter().flatten();
            rows.any(|row| row.join(": ").contains(words))
        };
        let containerd_store = status("io.containerd.snapshotter");
        let native_diff = status("Native Overlay Diff: true");
        let data_root = PathBuf::from(info.docker_root_dir.unwrap_or_default());
        let data_root_here = match (self.root(), data_root.strip_prefix("/")) {
            (Some(root), Ok(below)) => root.join(below),
            _ => data_root.clone(),
        };
        Ok(EngineInfo {
            id: info.id.unwrap_or_default(),
            version: info.server_version.unwrap_or_default(),
            data_root,
            data_root_here,
            storage_driver: info.driver.unwrap_or_default(),
            cgroup_version: info
                .cgroup_version
                .map(|v| v.to_string())
                .unwrap_or_default(),
            containerd_store,
            native_diff,
        })
    }

    fn raw(&self) -> &client::Client {
        &self.raw
    }
}

/// Whether the engine's error says that the resource does not exist.
fn is_gone(error: &bollard::errors::Error) -> bool {
    matches!(
        error,
        bollard::errors::Error::DockerResponseServerError {
            status_code: 404,
            ..
        }
    )
}

#[cfg(test)]
mod tests;
