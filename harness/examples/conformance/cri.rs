//! critest against the container runtime of a node that has booted as for any test.

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};
use kubenest::{Cluster, ClusterSpec, engine::Docker, node::Node, recipe::Recipe};
use kubenest_base::{signals, store::Store};
use kubenest_fixtures::{crictl::Crictl, registry::LocalRegistry};
use kubenest_protocol::exit;
use serde_json::json;

use crate::{
    critest,
    images::{self, Published},
    judge::{Judgement, judge},
    known,
    results::Report,
};

/// What a shell adds to the number of a signal for the exit code of a process that it has ended.
const SIGNALLED: u8 = 128;

/// Runs critest 1.34, the CRI's own conformance tests, against the runtime of a node
///
/// The node boots as for any test; then its kubelet is stopped and its pods are removed, because
/// critest has to be alone with the runtime. The images of its specs are made of Debian's packages and
/// come from a registry on the node's network, under the names that critest has for them.
///
/// Failures that are known are listed with their reasons in
/// harness/examples/conformance/known-failures.yaml. A failure that is not listed fails the command,
/// and so does a listed spec that passes.
#[derive(clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// A recipe by name, in short such as `1.34` or `cri-o`
    #[arg(default_value = "cri-o")]
    node: String,
    /// Run only specs whose name this regex matches
    #[arg(long, value_name = "REGEX")]
    focus: Option<String>,
    /// The folder of critest.xml (JUnit) and critest.log [default: target/conformance/RECIPE]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

const AFTER: &str = "\
Exit codes:
  0    every failure is known, and everything known has failed
  100  a spec failed that is not known to, or one passed that is known to fail
  105  the set-up failed, which says nothing about the runtime
  130  interrupted (143 on SIGTERM); the node and the registry are removed

Examples:
  cargo xtask conformance cri
  cargo xtask conformance cri v1.32.1-containerd-2.3.4 --focus 'Image Manager'";

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let docker = kubenest::engine::find().await?;
    let registry = LocalRegistry::start(&docker).await?;
    let mut conforming = Box::pin(conform(args, &docker, &registry));
    let ended = tokio::select! {
        ended = &mut conforming => ended.map(Ok),
        kind = signals::wait_for_end() => kind.map(Err).context("watch for signals"),
    };
    // Before the cluster: its network cannot go while somebody is on it.
    docker.remove_container(registry.container()).await?;
    drop(conforming);
    registry.stop().await?;
    match ended? {
        Ok((cluster, judged)) => {
            cluster.down().await?;
            let code = match judged?.is_good() {
                true => exit::OK,
                false => exit::TEST_FAILED,
            };
            Ok(ExitCode::from(code))
        }
        Err(kind) => {
            let kind = u8::try_from(kind.as_raw_value()).unwrap_or_default();
            Ok(ExitCode::from(SIGNALLED + kind))
        }
    }
}

/// Makes a node and what critest needs, and runs it there.
async fn conform(
    args: &Args,
    docker: &Docker,
    registry: &LocalRegistry,
) -> Result<(Cluster, Result<Judgement>)> {
    let recipe = Recipe::named(&args.node)?;
    let published = images::publish(docker, registry).await?;
    let program = critest::build(&Store::of(docker.settings()), &published.digest).await?;
    let cluster = boot(docker, recipe, registry).await?;
    let judged = run_on(&cluster, args, program, &published).await;
    Ok((cluster, judged))
}

/// Runs critest on a cluster's node, and says how it ended.
async fn run_on(
    cluster: &Cluster,
    args: &Args,
    program: Vec<u8>,
    published: &Published,
) -> Result<Judgement> {
    let begun = Instant::now();
    let recipe = cluster.image().recipe.as_str();
    let default = || ["target", "conformance", recipe].iter().collect();
    let folder: PathBuf = args.report.clone().unwrap_or_else(default);
    fs::create_dir_all(&folder).with_context(|| format!("make '{}'", folder.display()))?;
    let node = cluster.control_plane();
    leave_alone(node).await?;
    let version = node.cri().await?.version().await?;
    println!(
        "critest {} against {} {} of {}",
        critest::RELEASE,
        version.runtime_name,
        version.runtime_version,
        recipe
    );
    let known = known::of(node).await?;
    let (focus, log) = (args.focus.as_deref(), folder.join("critest.log"));
    let xml = critest::run(node, program, published, focus, &log).await?;
    fs::write(folder.join("critest.xml"), &xml).context("write critest.xml")?;
    let report = Report::parse(&xml)?;
    ensure!(
        report.around.is_empty(),
        "critest itself failed, beside its specs: {:?}; its words are in '{}'",
        report.around,
        log.display()
    );
    let judged = judge(&report.specs, &known);
    print!("{judged}");
    println!(
        "{}; {} s; reports are in {}",
        judged.counts(),
        begun.elapsed().as_secs(),
        folder.display()
    );
    Ok(judged)
}

/// Boots a node that gets the images' registries from ours.
async fn boot(docker: &Docker, recipe: Recipe, registry: &LocalRegistry) -> Result<Cluster> {
    let mut spec = ClusterSpec::single_node()
        .with_engine(docker)
        .with_custom_recipe(recipe);
    for name in images::REGISTRIES {
        spec = spec.with_registry_mirror(name, &registry.mirror())?;
    }
    let cluster = spec.boot().await?;
    registry
        .join(&format!("kubenest-{}", cluster.name()))
        .await?;
    Ok(cluster)
}

/// Stops the kubelet and removes all pods, so that nobody else uses the runtime.
async fn leave_alone(node: &Node) -> Result<()> {
    node.exec_ok(&["systemctl", "stop", "kubelet"]).await?;
    // A pod may take long to end: the API server closes its connections first.
    let crictl = Crictl::install(critest::RELEASE, node).await?;
    crictl
        .call_ok(&["--timeout=3m", "rmp", "--force", "--all"])
        .await?;
    let left = node.cri().await?.containers().await?;
    ensure!(left == json!([]), "pods are left on '{node}': {left}");
    Ok(())
}
