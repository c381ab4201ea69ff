//! Processes share a cluster by its lease: one boots it, whoever holds it keeps it, and when nobody
//! has held it for a while everything of it is gone.
//!
//! Each test has a cache of its own, so that nobody else shares its clusters.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{RECIPE, client_of, docker, remains_of};
use kubenest::{
    cluster::{self, Standing},
    engine::{self, Docker},
    k8s_openapi::api::{core::v1::Namespace, rbac::v1::ClusterRole},
    kube::{Api, Client},
    recipe::{NodeImage, Recipe},
    wait::{self, Probe},
};
use kubenest_base::settings::Settings;
use kubenest_docker::{Scope, sweep};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// How long a cluster may take to go after its idle time.
const SOON: Duration = Duration::from_secs(90);

/// A cache and an engine that has the node image.
struct Place {
    engine: Docker,
    cache: TempDir,
    /// In seconds.
    idle: u32,
}

impl Place {
    async fn new(idle: u32) -> Result<Self> {
        let engine = engine::find().await?;
        NodeImage::ensure(&engine, &Recipe::named(RECIPE)?).await?;
        let cache = tempfile::tempdir()?;
        Ok(Self {
            engine,
            cache,
            idle,
        })
    }

    /// Another cache on the same engine.
    fn neighbour(&self) -> Result<Self> {
        Ok(Self {
            engine: self.engine.clone(),
            cache: tempfile::tempdir()?,
            idle: self.idle,
        })
    }

    /// Where evidence of its tests goes.
    fn evidence(&self) -> PathBuf {
        self.cache.path().join("evidence")
    }

    /// How many folders of evidence have this file.
    fn bundles_with(&self, file: &str) -> Result<usize> {
        let bundles = fs::read_dir(self.evidence())?.flatten();
        let with = bundles.filter(|bundle| bundle.path().join(file).is_file());
        Ok(with.count())
    }

    /// The names of the leases' and clusters' folders.
    fn folders(&self) -> Vec<PathBuf> {
        let homes = ["leases", "clusters"].map(|name| self.cache.path().join(name));
        let entries = homes.iter().flat_map(fs::read_dir).flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    async fn wait_until_gone(&self, cluster: &str) -> Result<()> {
        let gone = wait::until("the lease to end", SOON, async || {
            match remains_of(&self.engine, cluster).await {
                Ok(left) if left.is_empty() && self.folders().is_empty() => Probe::Ready(()),
                Ok(left) => Probe::Pending(format!("{left:?} {:?}", self.folders())),
                Err(error) => Probe::Pending(format!("{error:#}")),
            }
        });
        Ok(gone.await?)
    }

    /// Waits until the guard has seen that nobody holds the cluster.
    async fn wait_until_idle(&self, cluster: &str) -> Result<()> {
        let idle = Duration::from_secs(self.idle.into());
        let seen = wait::until("the guard to see no holder", SOON, async || {
            match self.standing(cluster).await {
                Ok(Some(Standing::Idle(rest))) if rest < idle => Probe::Ready(()),
                Ok(Some(standing @ (Standing::Idle(_) | Standing::Held(_)))) => {
                    Probe::Pending(standing.to_string())
                }
                other => Probe::never(format!("it does not stay: {other:?}")),
            }
        });
        Ok(seen.await?)
    }

    async fn client(&self, cluster: &str) -> Result<Client> {
        let folder = self.cache.path().join("clusters").join(cluster);
        client_of(&folder.join("kubeconfig")).await
    }

    /// The phase of a namespace; one that is gone has ended.
    async fn phase_of(&self, cluster: &str, namespace: &str) -> Result<String> {
        let api = Api::<Namespace>::all(self.client(cluster).await?);
        let status = api.get_opt(namespace).await?.and_then(|found| found.status);
        let phase = status.and_then(|status| status.phase);
        Ok(phase.unwrap_or_else(|| "Terminating".into()))
    }

    async fn standing(&self, cluster: &str) -> Result<Option<Standing>> {
        let all = cluster::list(&self.engine).await?.into_iter();
        let mut ours = all.filter(|listed| listed.name == cluster);
        Ok(ours.next().map(|listed| listed.standing))
    }
}

/// A process that leases a cluster.
struct Leasing {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// What it writes to standard error.
    log: PathBuf,
}

/// A cluster, as a [`Leasing`] process says that it has it.
#[derive(Debug, Clone, PartialEq)]
struct Has {
    cluster: String,
    booted: bool,
}

impl Leasing {
    fn start(place: &Place, name: Option<&str>) -> Result<Self> {
        let socket = place.engine.socket().and_then(Path::to_str);
        let log = tempfile::Builder::new()
            .prefix("log-")
            .tempfile_in(place.cache.path())?
            .keep()?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it has to be killed from outside"
        )]
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasing"));
        let mut child = command
            .arg(socket.context("the engine has no socket")?)
            .args(name)
            .env("KUBENEST_CACHE", place.cache.path())
            .env("KUBENEST_EVIDENCE", place.evidence())
            .env("KUBENEST_IDLE", place.idle.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.0)
            .kill_on_drop(true)
            .spawn()?;
        let said = child.stdout.take().context("it has no output")?;
        Ok(Self {
            child,
            said: BufReader::new(said).lines(),
            log: log.1,
        })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn line(&mut self) -> Result<String> {
        let line = self.said.next_line().await?;
        line.with_context(|| format!("it ended: {}", self.log()))
    }

    /// Waits until it has a cluster.
    async fn has(&mut self) -> Result<Has> {
        let line = self.line().await?;
        let mut words = line.split(' ');
        let cluster = words.next().unwrap_or_default().to_owned();
        let booted = words.next() == Some("booted");
        Ok(Has { cluster, booted })
    }

    async fn tell(&mut self, word: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("it has no input")?;
        Ok(input.write_all(format!("{word}\n").as_bytes()).await?)
    }

    async fn runs_a_case(&mut self) -> Result<()> {
        self.tell("case").await?;
        let line = self.line().await?;
        ensure!(line.starts_with("case "), "it said {line}");
        Ok(())
    }

    /// Runs a test that `fail`s, or one that `hang`s, and returns its namespace.
    async fn namespace_of(&mut self, word: &str) -> Result<String> {
        self.tell(word).await?;
        let line = self.line().await?;
        let namespace = line.split_once(' ').map(|(_, name)| name.to_owned());
        namespace.with_context(|| format!("it said {line}"))
    }

    async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Lets it release its cluster and end.
    async fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        ensure!(status.success(), "{status}: {}", self.log());
        Ok(())
    }
}

async fn crash_containerd(engine: &Docker, cluster: &str) -> Result<()> {
    let node = format!("{cluster}-control-plane");
    let crash = "systemctl kill --signal=SIGKILL --kill-who=main containerd";
    let crash: Vec<_> = ["exec", &node]
        .into_iter()
        .chain(crash.split(' '))
        .collect();
    docker(engine, &crash).await.map(drop)
}

#[tokio::test]
async fn eight_processes_share_one_boot_and_the_last_takes_all_with_it() -> Result<()> {
    let place = Place::new(20).await?;
    let engine = &place.engine;
    let mut eight = Vec::new();
    for _ in 0..8 {
        eight.push(Leasing::start(&place, None)?);
    }
    let mut has = Vec::new();
    for process in &mut eight {
        has.push(process.has().await?);
    }
    let name = has[0].cluster.clone();
    assert!(has.iter().all(|has| has.cluster == name), "{has:?}");
    assert_eq!(has.iter().filter(|has| has.booted).count(), 1, "{has:?}");
    let pids: Vec<u32> = eight.iter().filter_map(|one| one.child.id()).collect();
    match place.standing(&name).await? {
        Some(Standing::Held(holders)) => {
            assert!(pids.iter().all(|pid| holders.contains(pid)), "{holders:?}");
        }
        other => panic!("it stands because of {other:?}"),
    }

    // Whoever is killed, and be it the one that booted it: the others keep it.
    let booter = has.iter().position(|has| has.booted).context("none has")?;
    eight.remove(booter).kill().await?;
    eight.remove(0).kill().await?;
    sweep(engine, Scope::DeadOwners).await?;
    for process in &mut eight {
        process.runs_a_case().await?;
    }

    // A runtime that has just crashed is given the time to be back.
    crash_containerd(engine, &name).await?;
    eight[0].runs_a_case().await?;

    // A failed test leaves its namespace until it runs again.
    let namespace = eight[0].namespace_of("fail").await?;
    eight[0].tell("again").await?;
    eight[0].has().await?;
    assert_eq!(place.phase_of(&name, &namespace).await?, "Active");
    eight[0].runs_a_case().await?;
    assert_eq!(place.phase_of(&name, &namespace).await?, "Terminating");

    // What a killed test has made goes when the next one comes, who keeps evidence of it before.
    let mut hanging = Leasing::start(&place, None)?;
    assert_eq!(hanging.has().await?.cluster, name);
    let namespace = hanging.namespace_of("hang").await?;
    hanging.kill().await?;
    let mut next = Leasing::start(&place, None)?;
    next.has().await?;
    eight.push(next);
    assert_eq!(place.phase_of(&name, &namespace).await?, "Terminating");
    let roles = Api::<ClusterRole>::all(place.client(&name).await?);
    assert_eq!(roles.get_opt(&namespace).await?, None);
    assert_eq!(place.bundles_with(&format!("api/{namespace}.json"))?, 1);
    let notebooks = fs::read_dir(place.cache.path().join("killed"))?;
    assert_eq!(notebooks.count(), eight.len(), "one of each holder");

    // A guard that was killed is started by whoever comes next.
    docker(engine, &["kill", &format!("{name}-guard")]).await?;
    let mut next = Leasing::start(&place, None)?;
    assert_eq!(next.has().await?.cluster, name);
    eight.push(next);
    let guard = engine.container(&format!("{name}-guard")).await?;
    assert!(guard.is_some_and(|guard| guard.running));

    // In its idle time it stays, whoever sweeps, for the next who comes.
    for process in eight {
        process.end().await?;
    }
    place.wait_until_idle(&name).await?;
    sweep(engine, Scope::DeadOwners).await?;
    let mut late = Leasing::start(&place, None)?;
    let has = late.has().await?;
    assert_eq!((has.cluster.as_str(), has.booted), (name.as_str(), false));
    late.runs_a_case().await?;
    late.kill().await?;
    place.wait_until_gone(&name).await
}

#[tokio::test]
async fn a_sick_cluster_is_replaced_and_its_name_is_one_caches_alone() -> Result<()> {
    let place = Place::new(2).await?;
    let engine = &place.engine;
    let name = harness_selfcheck::unique_name();
    let mut first = Leasing::start(&place, Some(&name))?;
    let booted = Has {
        cluster: name.clone(),
        booted: true,
    };
    assert_eq!(first.has().await?, booted);

    let neighbour = place.neighbour()?;
    let mut other = Leasing::start(&neighbour, Some(&name))?;
    assert!(other.has().await.is_err());
    let cache = place.cache.path().display();
    let whose = format!("'{name}-control-plane', which is leased from the cache '{cache}'");
    assert!(other.log().contains(&whose), "{}", other.log());
    wait::until(
        "the neighbour to leave nothing",
        SOON,
        async || match neighbour.folders() {
            none if none.is_empty() => Probe::Ready(()),
            some => Probe::Pending(format!("{some:?}")),
        },
    )
    .await?;

    docker(engine, &["kill", &format!("{name}-control-plane")]).await?;
    let mut second = Leasing::start(&place, Some(&name))?;
    wait::until("a line that says why", SOON, async || match second.log() {
        log if log.contains(&format!("cluster '{name}' is replaced: node")) => Probe::Ready(()),
        log => Probe::Pending(log),
    })
    .await?;
    // The name is free when those who have the sick one let go.
    assert!(matches!(
        place.standing(&name).await?,
        Some(Standing::Ended { holders, .. }) if holders.len() == 1
    ));
    first.end().await?;
    assert_eq!(second.has().await?, booted);
    second.runs_a_case().await?;

    let mut settings = Settings::from_env();
    settings.cache = place.cache.path().to_owned();
    let engine = Docker::at(engine.endpoint(), &settings.into()).await?;
    cluster::remove(&engine, &name).await?;
    assert_eq!(remains_of(&engine, &name).await?, [""; 0]);
    second.kill().await?;
    place.wait_until_gone(&name).await
}
