//! The process of a test: it leases a cluster, runs a case and says how far it is, a line each.
//!
//! `has CLUSTER booted|attached`, `body NAMESPACE`, then `passed`, `failed WHY` or `lost WHY`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kubenest::{
    Case, Cluster, cluster::probe_pod, engine::Docker, k8s_openapi::api::core::v1::ConfigMap,
};
use kubenest_base::wait::{self, Probe};
use kubenest_docker::labels::BOOT;
use serde_json::json;

use crate::{place::Engine, report};

/// How long an engine may take to answer again after it was killed.
const ANSWER: Duration = Duration::from_secs(120);
/// How long a pod may take on a busy machine.
const POD: Duration = Duration::from_secs(90);

/// One test of a soak, which starts it itself
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    engine: Engine,
    /// Take a cluster that nobody else has meanwhile
    #[arg(long)]
    alone: bool,
    /// Run a pod
    #[arg(long)]
    pod: bool,
    /// How long the body is at work, in milliseconds
    #[arg(long)]
    work: u64,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let ended = Box::pin(lease_and_work(args)).await;
    let line = match &ended {
        Ok(None) => "passed".to_owned(),
        Ok(Some(lost)) => format!("lost {lost}"),
        Err(error) => format!("failed {}", report(error)),
    };
    println!("{}", line.replace('\n', " | "));
    Ok(())
}

/// Why the cluster was lost while this process held it, if it was.
async fn lease_and_work(args: &Args) -> Result<Option<String>> {
    let (docker, spec) = args.engine.open().await?;
    let request = kubenest::lease(&spec.with_engine(&docker));
    let cluster = match args.alone {
        true => request.exclusive().await?,
        false => request.await?,
    };
    let attached = cluster.phases().iter().any(|phase| phase.name == "attach");
    let how = if attached { "attached" } else { "booted" };
    println!("has {} {how}", cluster.name());
    let boot = boot_of(&docker, &cluster).await?;
    let worked = cluster.case(async |case| work(case, args).await).await;
    if let Some(lost) = loss(&docker, &cluster, &boot).await? {
        return Ok(Some(lost));
    }
    let released = cluster.down().await;
    worked?;
    released?;
    Ok(None)
}

/// Which boot the node of the cluster is of, while it runs.
async fn boot_of(docker: &Docker, cluster: &Cluster) -> Result<String> {
    let node = docker.container(cluster.control_plane().name()).await?;
    let node = node
        .filter(|node| node.running)
        .context("its node does not run")?;
    node.labels
        .get(BOOT)
        .cloned()
        .context("its node has no boot")
}

/// Looks whether the cluster is still there, as soon as the engine answers.
async fn loss(docker: &Docker, cluster: &Cluster, boot: &str) -> Result<Option<String>> {
    let looked = wait::until("the engine to answer", ANSWER, async || {
        Probe::from_result(docker.container(cluster.control_plane().name()).await)
    });
    Ok(match looked.await? {
        None => Some("its node is gone".to_owned()),
        Some(node) if !node.running => Some(format!("its node ended with {}", node.exit_code)),
        Some(node) => {
            let now = node.labels.get(BOOT);
            (now.map(String::as_str) != Some(boot)).then(|| format!("its node is of boot {now:?}"))
        }
    })
}

/// What an operator's test does: objects, a pod, and looks at them again and again.
async fn work(case: &Case<'_>, args: &Args) -> Result<()> {
    println!("body {}", case.namespace());
    let work = Duration::from_millis(args.work);
    if args.pod {
        case.create(&probe_pod(case.node(), "sleeper").await?)
            .await?;
        case.pod_ready("sleeper", POD).await?;
    }
    let begin = std::time::Instant::now();
    let mut round = 0;
    while begin.elapsed() < work {
        round += 1;
        let written = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "rounds"},
            "data": {"round": round.to_string()},
        });
        case.apply(written).await?;
        let read: ConfigMap = case.get("rounds").await?;
        let read = read.data.and_then(|data| data.get("round").cloned());
        ensure!(
            read == Some(round.to_string()),
            "it wrote {round} and read {read:?}"
        );
        wait::pace(Duration::from_millis(100)).await;
    }
    Ok(())
}
