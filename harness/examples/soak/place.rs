//! Where a soak takes place: an engine on a disk of its own, and two caches.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use kubenest::{
    ClusterSpec,
    engine::Docker,
    recipe::{NodeImage, Recipe},
};
use kubenest_base::{liveness::Process, settings::Settings};
use kubenest_docker::discover::{Endpoint, Origin};
use kubenest_fixtures::disk::EngineDisk;
use tokio::process::{Child, Command};

use crate::schedule::Test;

/// How long a cluster stays that nobody holds, in seconds.
pub(crate) const IDLE: u64 = 20;

/// The size of the engine's disk, in bytes, and what is written to it at most.
const DISK: u64 = 12 << 30;
const WRITTEN: u64 = 6 << 30;

/// An engine and two caches on it, in a folder of a fixed name: what a killed soak has left is
/// removed by the next.
pub(crate) struct Place {
    pub(crate) store: EngineDisk,
    pub(crate) docker: Docker,
    pub(crate) caches: [Arc<Settings>; 2],
    pub(crate) root: PathBuf,
    recipe: String,
}

/// Which engine a process of a soak uses, and for which nodes.
#[derive(clap::Args)]
pub(crate) struct Engine {
    /// The socket of the engine
    #[arg(long)]
    socket: PathBuf,
    /// The node image
    #[arg(long)]
    recipe: String,
}

impl Engine {
    /// The engine, and a cluster of one node on it.
    pub(crate) async fn open(&self) -> Result<(Docker, ClusterSpec)> {
        let endpoint = Endpoint::unix(&self.socket, Origin::Embedded);
        let docker = Docker::at(&endpoint, kubenest::settings()).await?;
        let spec = ClusterSpec::single_node().with_recipe(&self.recipe)?;
        Ok((docker, spec))
    }
}

impl Place {
    pub(crate) async fn make(recipe: &str) -> Result<Self> {
        let settings = kubenest::settings();
        let store = EngineDisk::make("soak-engine", DISK, WRITTEN).await?;
        let root = settings.cache.join("engine-tests/soak");
        fs::remove_dir_all(&root).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let caches = ["one", "two"].map(|name| root.join(name));
        for folder in caches.iter().chain([&root.join("logs")]) {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
        }
        let docker = store.start().await?;
        NodeImage::ensure(&docker, &Recipe::named(recipe)?).await?;
        let caches = caches.map(|cache| {
            let mut own = Settings::clone(settings);
            own.cache = cache;
            Arc::new(own)
        });
        Ok(Self {
            store,
            docker,
            caches,
            root,
            recipe: recipe.to_owned(),
        })
    }

    /// Where the evidence of a cache's tests goes.
    pub(crate) fn evidence(&self, cache: usize) -> PathBuf {
        self.caches[cache].cache.join("evidence")
    }

    /// What a test says beside its progress.
    pub(crate) fn log(&self, test: &Test) -> PathBuf {
        self.root.join("logs").join(format!("{}.log", test.number))
    }

    /// Starts a process of this program, with the settings of a cache, for a part of the soak. What it
    /// says beside its progress goes to a log.
    pub(crate) fn spawn(
        &self,
        part: &str,
        cache: usize,
        log: &Path,
        args: &[&str],
    ) -> Result<Child> {
        let own = std::process::id();
        let Process::Since(begun) = Process::of(own) else {
            bail!("/proc does not show this process");
        };
        let socket = self.docker.socket().context("the engine has no socket")?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it has to be killed from outside"
        )]
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(part)
            .arg("--socket")
            .arg(socket)
            .args(["--recipe", &self.recipe])
            .args(args)
            .env("KUBENEST_CACHE", &self.caches[cache].cache)
            .env("KUBENEST_EVIDENCE", self.evidence(cache))
            .env("KUBENEST_IDLE", format!("{IDLE}s"))
            .env("KUBENEST_PARENT", format!("{own}-{begun}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log)?)
            .kill_on_drop(true);
        Ok(command.spawn()?)
    }

    /// Starts the process of a test.
    pub(crate) fn start(&self, test: &Test) -> Result<Child> {
        let work = test.work.as_millis().to_string();
        let mut args = vec!["--work", &work];
        args.extend(test.alone.then_some("--alone"));
        args.extend(test.pod.then_some("--pod"));
        self.spawn("test", test.cache, &self.log(test), &args)
    }

    /// The daemon of the engine.
    pub(crate) fn daemon(&self) -> Result<i32> {
        let socket = self.store.engine.address().socket;
        let run = socket.parent().unwrap_or(Path::new("/"));
        let pid = fs::read_to_string(run.join("dockerd.pid"))?;
        Ok(pid.trim().parse()?)
    }
}
