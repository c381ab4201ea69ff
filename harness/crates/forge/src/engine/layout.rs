//! Paths and names of everything that belongs to one engine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kubenest_base::digest::sha256_hex;
use kubenest_base::{Context, Result};

/// Prefix of the names of the engines' bridges.
const BRIDGE: &str = "kn-";

/// Paths and names of one engine.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Eight hex digits that distinguish this engine's names from another engine's.
    pub(super) id: String,
    /// The lasting folder: images, containers, log.
    pub(super) home: PathBuf,
    /// The folder for the time while the engine runs. Its path is short, because a socket's path
    /// has at most 108 bytes.
    pub(super) run: PathBuf,
}

/// Whether an interface with this name is the bridge of a kubenest engine.
pub(super) fn is_bridge(name: &str) -> bool {
    let id = name.strip_prefix(BRIDGE).unwrap_or_default();
    id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Layout {
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let make = || format!("make '{}'", folder.display());
        fs::create_dir_all(folder).with_context(make)?;
        // One folder is one engine, even if several links lead to it.
        let home = folder.canonicalize().with_context(make)?;
        let id = sha256_hex(home.as_os_str().as_encoded_bytes())[..8].to_owned();
        let run = PathBuf::from(format!("/run/kubenest-{id}"));
        Ok(Self { id, home, run })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.run.join("docker.sock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.join("dockerd.log")
    }

    /// The file with the address range of the last start.
    pub(super) fn pool(&self) -> PathBuf {
        self.home.join("pool")
    }

    /// The file with the machine's mounts from before this start.
    pub(super) fn former_mounts(&self) -> PathBuf {
        self.run.join("former-mounts")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    pub(super) fn exec(&self) -> PathBuf {
        self.run.join("exec")
    }

    pub(super) fn bridge(&self) -> String {
        format!("{BRIDGE}{}", self.id)
    }

    pub(super) fn chain(&self) -> String {
        format!("KUBENEST-{}", self.id)
    }

    /// Parent of all containers' cgroups. "docker" is in the name because node images look for it
    /// to recognise that they run in a Docker container.
    pub(super) fn cgroup(&self) -> String {
        format!("docker-kubenest-{}", self.id)
    }

    /// The containerd namespace of this engine. Where the system's containerd runs, the engine uses
    /// that, and must not touch what other engines keep there.
    pub(super) fn namespace(&self) -> String {
        format!("kubenest-{}", self.id)
    }

    /// The variable that all processes of the engine have in their environment; it is how they are
    /// found.
    pub(super) fn mark(&self) -> (&'static str, &Path) {
        ("KUBENEST_ENGINE_RUN", &self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_engine_by_whatever_link() {
        let dir = tempfile::tempdir().unwrap();
        let real = Layout::of(&dir.path().join("real")).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real.home, &link).unwrap();
        assert_eq!(Layout::of(&link).unwrap().id, real.id);
        assert_ne!(Layout::of(&dir.path().join("other")).unwrap().id, real.id);
    }

    #[test]
    fn names_fit_the_kernels_limits() {
        let layout = Layout::of(Path::new("/")).unwrap();
        assert!(layout.bridge().len() <= 15, "an interface's name");
        assert!(is_bridge(&layout.bridge()) && !is_bridge("kn-lan"));
        assert!(layout.chain().len() <= 28, "a chain's name");
        let longest = layout.exec().join("containerd/containerd-debug.sock");
        assert!(longest.as_os_str().len() < 108, "a socket's path");
    }
}
