//! The one door to Docker: everything goes through bollard, nothing else names it.

mod archive;
mod container;
pub mod discover;
mod exec;
mod guard;
mod image;
pub mod labels;
mod network;
mod sweep;

use std::path::{Path, PathBuf};

pub use archive::FileEntry;
pub(crate) use archive::pack;
pub use container::{ContainerSpec, ContainerState};
pub use exec::ExecOutput;
pub use image::ImageInfo;
pub use labels::Labels;

use crate::{Context, Error, Result};

/// A Docker engine that answered.
#[derive(Debug, Clone)]
pub struct Docker {
    raw: bollard::Docker,
    /// The socket, when the engine is on this machine.
    socket: Option<PathBuf>,
}

/// What an engine says of itself.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// Its version, for example `26.1.5`.
    pub version: String,
    /// Where it keeps images and containers.
    pub data_root: PathBuf,
    /// Its storage driver; `overlayfs` with the containerd image store.
    pub storage_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// It keeps images in containerd (Docker 29's default).
    pub containerd_store: bool,
}

impl Docker {
    /// The engine behind a unix socket of this machine.
    ///
    /// # Errors
    /// Nothing answers there.
    pub async fn unix(socket: &Path) -> Result<Self> {
        let address = format!("unix://{}", socket.display());
        let raw = bollard::Docker::connect_with_unix(
            &address,
            TIMEOUT_SECONDS,
            bollard::API_DEFAULT_VERSION,
        )
        .with_context(|| format!("connect to {address}"))?;
        Self::negotiated(raw, Some(socket.to_owned()), &address).await
    }

    /// Agrees on an API version with an engine; its first answer proves that it is there.
    async fn negotiated(
        raw: bollard::Docker,
        socket: Option<PathBuf>,
        address: &str,
    ) -> Result<Self> {
        let raw = raw.negotiate_version().await.map_err(|cause| {
            Error::setup(format!("no Docker engine answers at {address}"))
                .because(cause)
                .cure("start it, or unset DOCKER_HOST and DOCKER_CONTEXT")
        })?;
        Ok(Self { raw, socket })
    }

    /// The engine's socket, when the engine is on this machine.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn info(&self) -> Result<EngineInfo> {
        let info = self.raw.info().await.context("ask the engine about itself")?;
        let snapshotter = info
            .driver_status
            .iter()
            .flatten()
            .any(|row| row.iter().any(|cell| cell.contains("io.containerd.snapshotter")));
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            data_root: info.docker_root_dir.unwrap_or_default().into(),
            storage_driver: info.driver.unwrap_or_default(),
            cgroup_version: info.cgroup_version.map(|v| v.to_string()).unwrap_or_default(),
            containerd_store: snapshotter,
        })
    }

    pub(crate) fn raw(&self) -> &bollard::Docker {
        &self.raw
    }
}

/// Seconds an engine has for one answer; loading a node image takes a while.
const TIMEOUT_SECONDS: u64 = 300;

/// The engine says that there is no such thing.
fn is_gone(error: &bollard::errors::Error) -> bool {
    matches!(
        error,
        bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }
    )
}
