//! Where an engine keeps its things, and how they are called.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kubenest_base::digest::sha256_hex;
use kubenest_base::{Context, Result};

/// How the names of engines' bridges begin.
const BRIDGE: &str = "kn-";

/// The names of one engine's things.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Eight hex digits that tell this engine's things from another's.
    pub(super) id: String,
    /// Lasting: images, containers, log.
    pub(super) home: PathBuf,
    /// For the running engine only; short, as a socket's path has at most 108 bytes.
    pub(super) run: PathBuf,
}

/// Whether an interface of that name is the bridge of an engine of kubenest's.
pub(super) fn is_bridge(name: &str) -> bool {
    let id = name.strip_prefix(BRIDGE).unwrap_or_default();
    id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Layout {
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let make = || format!("make '{}'", folder.display());
        fs::create_dir_all(folder).with_context(make)?;
        // One folder is one engine, by whatever links it is reached.
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

    /// File that names the address range of the last start.
    pub(super) fn pool(&self) -> PathBuf {
        self.home.join("pool")
    }

    /// File that has what was mounted on the machine before this start.
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

    /// Parent of all containers' cgroups. "docker" is in the name because node images
    /// look for it to tell that they run in a container of Docker.
    pub(super) fn cgroup(&self) -> String {
        format!("docker-kubenest-{}", self.id)
    }

    /// Where containerd keeps what is this engine's. An engine takes the system's containerd
    /// where one runs, and another engine's things there are none of its business.
    pub(super) fn namespace(&self) -> String {
        format!("kubenest-{}", self.id)
    }

    /// Variable that all processes of the engine have, and by which they are found.
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
