//! Leases a cluster and does what its input says, a word a line: `case` runs a test's case, `fail` one
//! that fails, `hang` one that never ends and has made a ClusterRole, `again` leases once more. It lets go and ends with its input.
//!
//! `leasing SOCKET [NAME]`: on the engine of this socket. It says which cluster it has: its name,
//! `booted` or `attached`, and the seconds that took.
#![expect(clippy::print_stdout, reason = "it says what it has")]

use std::{io::stdin, time::Instant};

use anyhow::{Result, bail};
use harness_selfcheck::RECIPE;
use kubenest::{Case, Cluster, ClusterSpec, engine::Docker};
use kubenest_docker::discover::{Endpoint, Origin};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    kubenest::telemetry::start();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (socket, name) = match args.as_slice() {
        [socket] => (socket, None),
        [socket, name] => (socket, Some(name)),
        _ => bail!("leasing SOCKET [NAME]"),
    };
    let endpoint = Endpoint::unix(socket, Origin::Embedded);
    let engine = Docker::at(&endpoint, kubenest::settings()).await?;
    let spec = ClusterSpec::single_node()
        .with_recipe(RECIPE)?
        .with_engine(&engine);
    let spec = match name {
        Some(name) => spec.with_name(name),
        None => spec,
    };
    let mut cluster = lease(&spec).await?;
    for line in stdin().lines() {
        let begin = Instant::now();
        match line?.as_str() {
            "case" => {
                cluster.case(async |_| Ok(())).await?;
                println!("case {:.3}", begin.elapsed().as_secs_f64());
            }
            "fail" => {
                let failed = cluster.case(async |case| -> Result<()> {
                    println!("failed {}", case.namespace());
                    bail!("as it was asked to")
                });
                if failed.await.is_ok() {
                    bail!("it passed");
                }
            }
            "hang" => cluster.case(hang).await?,
            "again" => cluster = lease(&spec).await?,
            other => bail!("what is '{other}'?"),
        }
    }
    Ok(cluster.down().await?)
}

/// A test that never ends and has made something outside its namespace.
async fn hang(case: &Case<'_>) -> Result<()> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": case.namespace()},
    });
    case.apply(role).await?;
    println!("hangs {}", case.namespace());
    std::future::pending().await
}

async fn lease(spec: &ClusterSpec) -> Result<Cluster> {
    let begin = Instant::now();
    let cluster = kubenest::lease(spec).await?;
    let how = match cluster.phases().iter().any(|phase| phase.name == "attach") {
        true => "attached",
        false => "booted",
    };
    let took = begin.elapsed().as_secs_f64();
    println!("{} {how} {took:.3}", cluster.name());
    Ok(cluster)
}
