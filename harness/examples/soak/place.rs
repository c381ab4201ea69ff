//! Where a soak takes place: an engine and two caches of its own.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use kubenest::{
    engine::Docker,
    recipe::{NodeImage, Recipe},
};
use kubenest_base::{
    liveness::Process,
    lock::FileLock,
    settings::{EngineRelease, Settings},
};
use kubenest_docker::discover::{Endpoint, Origin};
use kubenest_forge::engine::Engine;
use tokio::process::{Child, Command};

use crate::schedule::Test;

/// How long a cluster stays that nobody holds, in seconds.
pub(crate) const IDLE: u64 = 20;

/// An engine and two caches on it, in a folder of a fixed name: what a killed soak has left is
/// removed by the next.
pub(crate) struct Place {
    pub(crate) engine: Engine,
    pub(crate) docker: Docker,
    pub(crate) caches: [Arc<Settings>; 2],
    pub(crate) root: PathBuf,
    recipe: String,
    _lock: FileLock,
}

impl Place {
    pub(crate) async fn make(recipe: &str) -> Result<Self> {
        let settings = kubenest::settings();
        let root = settings.cache.join("engine-tests/soak");
        let lock = FileLock::exclusive(&root.with_extension("lock"), "another soak").await?;
        let engine = Engine::open(&root.join("engine"), EngineRelease::Docker26, settings)?;
        engine.stop().await?;
        fs::remove_dir_all(&root)?;
        let caches = ["one", "two"].map(|name| root.join(name));
        for folder in caches
            .iter()
            .chain([&root.join("engine"), &root.join("logs")])
        {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
        }
        let socket = engine.ensure().await?.socket;
        let docker = Docker::at(&Endpoint::unix(socket, Origin::Embedded), settings).await?;
        NodeImage::ensure(&docker, &Recipe::named(recipe)?).await?;
        let caches = caches.map(|cache| {
            let mut own = Settings::clone(settings);
            own.cache = cache;
            Arc::new(own)
        });
        Ok(Self {
            engine,
            docker,
            caches,
            root,
            recipe: recipe.to_owned(),
            _lock: lock,
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

    /// Starts the process of a test.
    pub(crate) fn start(&self, test: &Test) -> Result<Child> {
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
            .arg("test")
            .arg("--socket")
            .arg(socket)
            .args(["--recipe", &self.recipe])
            .args(["--work", &test.work.as_millis().to_string()])
            .args(test.alone.then_some("--alone"))
            .args(test.pod.then_some("--pod"))
            .env("KUBENEST_CACHE", &self.caches[test.cache].cache)
            .env("KUBENEST_EVIDENCE", self.evidence(test.cache))
            .env("KUBENEST_IDLE", format!("{IDLE}s"))
            .env("KUBENEST_PARENT", format!("{own}-{begun}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.log(test))?)
            .kill_on_drop(true);
        Ok(command.spawn()?)
    }

    /// The daemon of the engine.
    pub(crate) fn daemon(&self) -> Result<i32> {
        let socket = self.engine.address().socket;
        let run = socket.parent().unwrap_or(Path::new("/"));
        let pid = fs::read_to_string(run.join("dockerd.pid"))?;
        Ok(pid.trim().parse()?)
    }
}
