//! Helpers for tests that check the engine and clusters from outside; see `tests/`.

pub mod archives;
pub mod browser;
pub mod built;
pub mod doomed;
pub mod faketime;
pub mod listeners;
pub mod planted;
pub mod proxy;

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use kubenest::{
    ClusterSpec,
    engine::Docker,
    k8s_openapi::api::core::v1::Node as KubeNode,
    kube::{Api, Client, Config, config::Kubeconfig},
    node::Node,
    recipe::Recipe,
};
use kubenest_base::{
    lock::FileLock,
    process::Command,
    settings::{EngineRelease, Settings},
    store::Store,
};
use kubenest_docker::{
    discover::{Endpoint, Origin},
    labels,
};
use kubenest_forge::{
    component,
    engine::{self, Engine},
};
use kubenest_recipe::recipe::Content;
use tokio::task::LocalSet;

/// The recipe for tests that do not depend on versions.
pub const RECIPE: &str = "v1.32.1-containerd-2.0.2";

/// The spec of tests that need no more than a good node: they share its cluster.
pub fn good_node() -> kubenest::Result<ClusterSpec> {
    ClusterSpec::single_node().with_recipe(RECIPE)
}

/// The path of the kubelet's configuration on a node.
pub const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";

/// An engine for one test.
///
/// Its folder has a fixed name, so that the next run of a killed test removes the remains.
pub struct OwnEngine {
    /// The engine, which is not running yet.
    pub engine: Engine,
    folder: PathBuf,
    _lock: FileLock,
}

impl OwnEngine {
    /// Claims the folder for this test. The engine is of this release, with programs from the cache
    /// of these settings.
    pub async fn claim(
        release: EngineRelease,
        settings: &Arc<Settings>,
        name: &str,
    ) -> Result<Self> {
        let folder = kubenest::settings().cache.join("engine-tests").join(name);
        let lock = FileLock::exclusive(&folder.with_extension("lock"), name).await?;
        let engine = Engine::open(&folder, release, settings)?;
        engine.stop().await?;
        fs::remove_dir_all(&folder)?;
        fs::create_dir(&folder)?;
        Ok(Self {
            engine,
            folder,
            _lock: lock,
        })
    }

    /// Runs work. Ctrl-C stops the engine and is an error.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            done = work => Ok(done),
            _ = tokio::signal::ctrl_c() => {
                self.engine.stop().await?;
                bail!("interrupted");
            }
        }
    }

    /// Removes the folder of a stopped engine.
    pub fn remove(self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

/// Runs `body` on an engine of its own, which no other process sweeps, and always stops that engine
/// afterwards.
pub async fn on_own_engine<F: Future<Output = Result<()>> + 'static>(
    body: impl FnOnce(Docker) -> F + 'static,
) -> Result<()> {
    with_own_engine(|_, docker| body(docker)).await
}

/// As [`on_own_engine`], for a body that stops and starts the engine.
pub async fn with_own_engine<F: Future<Output = Result<()>> + 'static>(
    body: impl FnOnce(Engine, Docker) -> F + 'static,
) -> Result<()> {
    let test = thread::current()
        .name()
        .unwrap_or("a-test")
        .replace("::", "-");
    let own = OwnEngine::claim(EngineRelease::Docker26, kubenest::settings(), &test).await?;
    let tasks = LocalSet::new();
    let engine = own.engine.clone();
    let body = tasks.spawn_local(async move {
        let socket = engine.ensure().await?.socket;
        let docker = Docker::at(
            &Endpoint::unix(socket, Origin::Embedded),
            kubenest::settings(),
        )
        .await?;
        body(engine, docker).await
    });
    let ended = own.run(tasks.run_until(body)).await?;
    own.engine.stop().await?;
    own.remove()?;
    match ended {
        Ok(result) => result,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

/// Runs the `docker` command, which shares no code with kubenest, on an engine.
pub async fn docker(engine: &Docker, args: &[&str]) -> Result<String> {
    let mut command = Command::new(engine::cli(kubenest::settings()).await?).args(args);
    for (name, value) in engine.endpoint().variables() {
        command = command.env(name, value);
    }
    Ok(command.run().await?.stdout.trim().to_owned())
}

/// A cluster name that no other test on this machine uses.
pub fn unique_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("selfcheck-{}-{count}", std::process::id())
}

/// Changes a node's kubelet configuration, effective after a restart, so that images are deleted on
/// a full disk. Returns the health gate's words about it.
pub async fn change_kubelet_config(node: &Node) -> Result<String> {
    let edit = "s/^imageGCHighThresholdPercent: .*/imageGCHighThresholdPercent: 99/; \
                s/imagefs.available: .*/imagefs.available: 1%/";
    node.exec_ok(&["sed", "--in-place", edit, KUBELET_CONFIG])
        .await?;
    Ok(format!(
        "imageGCHighThresholdPercent 99 ({KUBELET_CONFIG}), asked 100; \
         evictionHard imagefs.available<1% ({KUBELET_CONFIG}), asked 0%"
    ))
}

/// A client that only has the kubeconfig.
pub async fn client_of(path: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Names of the nodes, as seen by a client that only has the kubeconfig.
pub async fn nodes_by_kubeconfig(path: &Path) -> Result<Vec<String>> {
    let nodes = Api::<KubeNode>::all(client_of(path).await?);
    let nodes = nodes.list(&Default::default()).await?;
    let names = nodes
        .items
        .into_iter()
        .filter_map(|node| node.metadata.name);
    Ok(names.collect())
}

/// The containers, networks and volumes that have the label of this cluster.
pub async fn remains_of(engine: &Docker, cluster: &str) -> Result<Vec<String>> {
    labelled(engine, &format!("{}={cluster}", labels::CLUSTER)).await
}

/// The containers, networks and volumes that have this label.
pub async fn labelled(engine: &Docker, label: &str) -> Result<Vec<String>> {
    let filter = format!("label={label}");
    let containers = ["ps", "--all", "--format", "{{.Names}}", "--filter", &filter];
    let networks = [
        "network",
        "ls",
        "--format",
        "{{.Name}}",
        "--filter",
        &filter,
    ];
    let volumes = ["volume", "ls", "--quiet", "--filter", &filter];
    let mut found = Vec::new();
    for list in [containers.as_slice(), &networks, &volumes] {
        found.extend(docker(engine, list).await?.lines().map(str::to_owned));
    }
    Ok(found)
}

/// All containers, networks (except built-in ones) and volumes of the engine, sorted; volumes
/// without a given name are `anonymous`.
pub async fn everything_in(engine: &Docker) -> Result<Vec<String>> {
    let lists: [&[&str]; 3] = [
        &["ps", "-a", "--format", "{{.Names}}"],
        &[
            "network",
            "ls",
            "--filter",
            "type=custom",
            "--format",
            "{{.Name}}",
        ],
        &["volume", "ls", "-q"],
    ];
    let mut found = Vec::new();
    for list in lists {
        found.extend(docker(engine, list).await?.lines().map(str::to_owned));
    }
    // Docker names a volume without a given name by 64 hex digits.
    for name in found.iter_mut().filter(|name| name.len() == 64) {
        "anonymous".clone_into(name);
    }
    found.sort();
    Ok(found)
}

/// An image with only the node OS, which is all that a guard needs.
pub async fn os_image(engine: &Docker) -> Result<String> {
    let Content::Parts(parts) = Recipe::named(RECIPE)?.content else {
        bail!("'{RECIPE}' has no parts")
    };
    let rootfs = component::provide(&Store::of(kubenest::settings()), &parts.os)
        .await?
        .rootfs();
    let rootfs = rootfs.to_str().context("the cache has a strange path")?;
    docker(engine, &["import", rootfs, "selfcheck/os:1"]).await?;
    Ok("selfcheck/os:1".to_owned())
}
