//! The embedded Docker engine: started on demand where a machine has none.
//!
//! The engine is Debian's own, or Docker 29 built with Go ([`EngineRelease`]), with a data folder,
//! a socket, a bridge and an address range of its own. It never touches another engine on the
//! machine, and the two embedded ones never touch each other. Docker's iptables chains would be a
//! conflict between two engines, so the engine has one chain instead, which lets its address range
//! out. This has a price: a user network with a subnet outside the range has no way out, and
//! published ports go through Docker's userland proxy. If the machine did not forward packets, it
//! forwards only this engine's packets while the engine runs. What the user has mounted in the
//! engine's folder stays mounted.
//!
//! One engine serves all processes that use the same cache. It outlives these processes and runs
//! until [`Engine::stop`].

mod config;
mod find;
mod forwarding;
mod health;
mod layout;
mod mounts;
mod network;
mod packages;
mod remains;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::{
    find::{embedded, find},
    health::Versions,
};
pub(crate) use self::{
    find::{is_shared, named, release_of_settings, variables},
    packages::PACKAGES,
};
use self::{layout::Layout, packages::Binaries};
use kubenest_base::{
    Context, Error, Result,
    lock::FileLock,
    process::{Command, last_lines},
    progress,
    settings::{EngineRelease, Settings},
    store::Store,
    wait::{self, Probe},
};
use kubenest_recipe::recipe::GoBuild;

/// Longest time from the start of a daemon to its first answer; a daemon that ends is noticed at
/// once.
const START: Duration = Duration::from_secs(180);

/// Longest time that a running daemon gets to recover by itself. It restarts a dead containerd
/// after some 12 s, on a busy machine later. The next step would end its containers.
const RECOVERY: Duration = Duration::from_secs(60);

/// Where a running engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineAddress {
    /// Its unix socket.
    pub socket: PathBuf,
}

/// What an engine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// No process of the engine runs.
    Stopped,
    /// The engine answers, and so does its containerd.
    Running(Versions),
    /// Processes of the engine run, but it does not work; the text says what was seen.
    Broken(String),
}

/// An engine and where it keeps its things.
#[derive(Debug, Clone)]
pub struct Status {
    /// What the engine is doing.
    pub state: State,
    /// Where the engine listens while it runs.
    pub address: EngineAddress,
    /// Folder of its images, containers and log.
    pub folder: PathBuf,
    /// The daemon's log.
    pub log: PathBuf,
}

/// An embedded engine, running or not.
#[derive(Debug, Clone)]
pub struct Engine {
    release: EngineRelease,
    layout: Layout,
    settings: Arc<Settings>,
}

/// The `docker` command that belongs to the engines; fetched if it is missing. No engine is
/// started.
///
/// # Errors
/// The packages cannot be fetched.
pub async fn cli(settings: &Settings) -> Result<PathBuf> {
    Ok(packages::unpack(settings).await?.cli())
}

/// The programs of an engine that runs in a pod, and what they are made of, for keys.
pub(crate) async fn programs_for_pod(settings: &Settings) -> Result<(Vec<PathBuf>, String)> {
    let binaries = packages::unpack(settings).await?;
    Ok((binaries.for_pod(), packages::key()?))
}

/// Whether the cache has the packages of all engines.
pub(crate) fn has_packages(store: &Store) -> Result<bool> {
    packages::are_unpacked(store)
}

/// Fetches the packages of all engines.
pub(crate) async fn fetch_packages(settings: &Settings) -> Result<()> {
    packages::unpack(settings).await.map(drop)
}

/// The Go module that an engine of this release is built from; `None` for Debian's own.
pub(crate) fn built_of(release: EngineRelease) -> Result<Option<GoBuild>> {
    packages::built(release)
}

impl EngineAddress {
    /// The address as `DOCKER_HOST` takes it.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Engine {
    /// The engine of this release in the settings' cache, which all users of that cache share.
    ///
    /// # Errors
    /// As [`Engine::open`], or the cache is not this user's alone.
    pub fn embedded(release: EngineRelease, settings: &Arc<Settings>) -> Result<Self> {
        settings.check()?;
        Self::open(&shared_folder(release, settings), release, settings)
    }

    /// The engines that were ever started from the settings' cache, whether they run or not.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn all(settings: &Arc<Settings>) -> Result<Vec<Self>> {
        [EngineRelease::Docker26, EngineRelease::Docker29]
            .into_iter()
            .filter(|release| shared_folder(*release, settings).is_dir())
            .map(|release| Self::embedded(release, settings))
            .collect()
    }

    /// The engine in `folder`, whose programs are in the settings' cache.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path, release: EngineRelease, settings: &Arc<Settings>) -> Result<Self> {
        Ok(Self {
            release,
            layout: Layout::of(folder)?,
            settings: Arc::clone(settings),
        })
    }

    /// The release of the engine.
    pub fn release(&self) -> EngineRelease {
        self.release
    }

    /// Where the engine listens while it runs.
    pub fn address(&self) -> EngineAddress {
        EngineAddress {
            socket: self.layout.socket(),
        }
    }

    /// Starts the engine if it does not run. Removes what a killed engine left, and restarts a
    /// broken one. Concurrent callers, in any process, get the same engine.
    ///
    /// # Errors
    /// This machine cannot run it (the cure names `DOCKER_HOST`), or the daemon does not
    /// get healthy (with the last lines of its log).
    pub async fn ensure(&self) -> Result<EngineAddress> {
        if wait_until_healthy(&self.layout).await.is_ok() {
            return Ok(self.address());
        }
        check_support()?;
        let _lock = self.lock("start the engine").await?;
        if self.recovers().await {
            return Ok(self.address());
        }
        let start = Instant::now();
        let binaries = packages::provide(&self.settings, self.release).await?;
        remains::clear(&self.layout, &binaries).await?;
        progress!("starting the embedded Docker engine");
        if let Err(error) = self.start(&binaries).await {
            remains::clear(&self.layout, &binaries).await.ok();
            return Err(error);
        }
        progress!(
            "embedded Docker engine ready ({:.1} s)",
            start.elapsed().as_secs_f64()
        );
        Ok(self.address())
    }

    /// Stops the engine completely: its containers, daemons, mounts, bridges and iptables chains
    /// are gone, its images and volumes stay. Does nothing if nothing of the engine is there.
    ///
    /// # Errors
    /// A process or a mount of the engine cannot be removed.
    pub async fn stop(&self) -> Result<()> {
        check_support()?;
        let _lock = self.lock("stop the engine").await?;
        if !remains::any(&self.layout)? {
            return Ok(());
        }
        let binaries = packages::unpack(&self.settings).await?;
        remains::end_daemon(&self.layout).await;
        remains::clear(&self.layout, &binaries).await
    }

    /// What the engine is doing.
    pub async fn status(&self) -> Status {
        let state = match wait_until_healthy(&self.layout).await {
            Ok(versions) => State::Running(versions),
            Err(_) if remains::processes(&self.layout).is_empty() => State::Stopped,
            Err(error) => State::Broken(error.report()),
        };
        Status {
            state,
            address: self.address(),
            folder: self.layout.home.clone(),
            log: self.layout.log(),
        }
    }

    async fn lock(&self, what: &str) -> Result<FileLock> {
        FileLock::exclusive(&self.layout.home.join("lock"), what).await
    }

    /// Waits for a daemon that may be starting, or restarting its containerd: given the time, its
    /// containers survive.
    async fn recovers(&self) -> bool {
        let layout = &self.layout;
        if remains::daemon_runs(layout) {
            progress!("waiting for the embedded Docker engine, which runs but does not work yet");
        }
        wait::until(
            "the engine to recover",
            RECOVERY,
            async || match wait_until_healthy(layout).await {
                Ok(_) => Probe::Ready(()),
                Err(error) if layout.pool().exists() && remains::daemon_runs(layout) => {
                    Probe::Pending(error.report())
                }
                Err(error) => Probe::Failed(error),
            },
        )
        .await
        .is_ok()
    }

    async fn start(&self, binaries: &Binaries) -> Result<()> {
        let layout = &self.layout;
        fs::create_dir_all(&layout.run)
            .with_context(|| format!("make '{}'", layout.run.display()))?;
        mounts::note(layout)?;
        let tools = binaries.tools(&layout.run).await?;
        let pool = network::set_up(layout, &tools).await?;
        let file = layout.run.join("daemon.json");
        let config = config::daemon_config(layout, &pool, binaries);
        fs::write(&file, config.to_string())
            .with_context(|| format!("write '{}'", file.display()))?;
        let log = layout.log();
        fs::rename(&log, log.with_extension("log.1")).ok();
        let mut daemon = Command::new(binaries.dockerd())
            .arg("--config-file")
            .arg(&file);
        for (name, value) in tools.daemon_env(binaries, layout) {
            daemon = daemon.env(name, value);
        }
        daemon.detach(&log).await?;
        // During its exec a process has no environment by which it could be recognised; but then it
        // has not written to the log yet.
        let silent = || fs::metadata(&log).is_ok_and(|log| log.len() == 0);
        wait::until(
            "the embedded Docker engine",
            START,
            async || match wait_until_healthy(layout).await {
                Ok(_) => Probe::Ready(()),
                Err(error) if silent() || remains::daemon_runs(layout) => {
                    Probe::Pending(error.report())
                }
                Err(_) => Probe::Failed(Error::setup("the Docker daemon ended at once")),
            },
        )
        .await
        .map_err(|error| add_log(error, &log))
    }
}

fn shared_folder(release: EngineRelease, settings: &Settings) -> PathBuf {
    settings.cache.join(match release {
        EngineRelease::Docker26 => "engine",
        EngineRelease::Docker29 => "engine-29",
    })
}

async fn wait_until_healthy(layout: &Layout) -> Result<Versions> {
    let versions = health::check(&layout.socket()).await?;
    if !layout.pool().exists() {
        let home = layout.home.display();
        return Err(Error::setup(format!(
            "'{home}' was emptied under the running engine"
        )));
    }
    Ok(versions)
}

/// Returns an error with the cure where the embedded engine cannot run.
fn check_support() -> Result<()> {
    let cannot = |why: &str| {
        Err(
            Error::setup(format!("the embedded Docker engine cannot run: {why}"))
                .cure("start a Docker engine and set DOCKER_HOST if it is not at the usual place"),
        )
    };
    if !cfg!(target_os = "linux") {
        return cannot("this is not Linux");
    }
    if !nix::unistd::geteuid().is_root() {
        return cannot("this process is not root");
    }
    Ok(())
}

fn add_log(error: Error, log: &Path) -> Error {
    let text = fs::read_to_string(log).unwrap_or_default();
    Error::setup(format!(
        "the embedded Docker engine did not start; last of '{}':\n{}",
        log.display(),
        last_lines(&text, 15)
    ))
    .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if the engine can be started from a spawned task.
    #[test]
    fn starting_can_be_spawned() {
        fn sendable(_: impl Send) {}
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::from_env().into();
        let engine = Engine::open(folder.path(), EngineRelease::Docker29, &settings).unwrap();
        sendable(engine.ensure());
        sendable(engine.stop());
    }
}
