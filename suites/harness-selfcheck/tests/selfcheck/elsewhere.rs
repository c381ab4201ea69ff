//! Clusters used from another tokio runtime or another network than they were booted from.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{RECIPE, docker, nodes_by_kubeconfig, remains_of, unique_name};
use kubenest::{ClusterSpec, cluster, engine::Docker, k8s_openapi::api::core::v1::Pod};
use kubenest_base::process::{Command, Output};
use tokio::runtime::Runtime;

/// How long a boot in another network may take.
const BOOT: Duration = Duration::from_secs(300);

#[test]
fn a_cluster_outlives_the_runtime_that_booted_it() -> Result<()> {
    let first = Runtime::new()?;
    let spec = ClusterSpec::single_node().with_recipe(RECIPE)?;
    let cluster = first.block_on(spec.boot())?;
    drop(first);
    Runtime::new()?.block_on(async {
        let case = cluster.case(async |case| {
            case.api::<Pod>().list(&Default::default()).await?;
            Ok(())
        });
        case.await?;
        let guard = format!("{}-guard", cluster.name());
        let format = "{{.State.Running}}";
        let running = ["inspect", "--format", format, guard.as_str()];
        assert_eq!(docker(cluster.docker(), &running).await?, "true");
        Ok(cluster.down().await?)
    })
}

#[tokio::test]
async fn an_engine_in_another_network_serves_a_cluster_and_its_kubeconfig() -> Result<()> {
    let engine = kubenest::engine::find().await?;
    let name = unique_name();
    ip(&["netns", "add", &name]).await?;
    let used = boot_and_use_from(&engine, &name).await;
    let gone = ip(&["netns", "delete", &name]).await;
    let removed = match remains_of(&engine, &name).await?.is_empty() {
        true => Ok(()),
        false => cluster::remove(&engine, &name).await,
    };
    used.and(gone.map(drop)).and(removed.map_err(Into::into))
}

/// Boots a cluster from the network namespace `name`, which cannot reach the engine's ports.
async fn boot_and_use_from(engine: &Docker, name: &str) -> Result<()> {
    ip(&["-n", name, "link", "set", "lo", "up"]).await?;
    let mut far = Command::new("ip").args(["netns", "exec", name]);
    far = far.args([env!("CARGO_BIN_EXE_far"), name]).within(BOOT);
    for (variable, value) in engine.endpoint().variables() {
        far = far.env(variable, value);
    }
    let said = far.run().await?.stdout;
    let line = |begin| said.lines().find_map(|line: &str| line.strip_prefix(begin));
    let node = format!("{name}-control-plane");
    assert_eq!(line("pods "), Some("0"), "{said}");
    assert_eq!(
        line("nodes "),
        Some(format!("[{node:?}]").as_str()),
        "{said}"
    );

    // The tunnel to the API server ended with its process; the kubeconfig has the engine's address
    // again.
    ensure!(said.contains("is on the engine's machine only"), "{said}");
    let kubeconfig = PathBuf::from(line("kubeconfig ").context("no kubeconfig")?);
    assert_eq!(nodes_by_kubeconfig(&kubeconfig).await?, [node]);
    Ok(())
}

async fn ip(args: &[&str]) -> Result<Output> {
    Ok(Command::new("ip").args(args).run().await?)
}
