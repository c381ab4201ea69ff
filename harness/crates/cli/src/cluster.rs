//! `kubenest up` and `kubenest list`.

use clap::Args;
use kubenest::{ClusterSpec, Result, engine::Docker};

use crate::like_test;

#[derive(Args)]
pub(crate) struct Up {
    /// The cluster's name; made up if none is given
    name: Option<String>,
    /// A recipe's name, a recipe file (.yaml), or a node image by digest
    #[arg(long)]
    recipe: Option<String>,
    /// Workers beside the control plane
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// A health check that may fail, by name; can be given more than once
    #[arg(long, value_name = "CHECK")]
    tolerate: Vec<String>,
    /// Leave up the cluster that this test of the current project gets, prepared for it; its body
    /// does not run. The whole name, as `cargo test -- --list` prints it
    #[arg(long, value_name = "TEST", conflicts_with_all = ["name", "recipe", "workers", "tolerate"])]
    like_test: Option<String>,
    /// Arguments of cargo, such as `-p my-operator`
    #[arg(last = true, requires = "like_test", value_name = "CARGO ARGS")]
    cargo_args: Vec<String>,
}

pub(crate) async fn up(up: Up) -> Result<()> {
    if let Some(test) = &up.like_test {
        return like_test::up(test, &up.cargo_args);
    }
    let mut spec = ClusterSpec::with_workers(up.workers).with_keep(true);
    if let Some(name) = up.name {
        spec = spec.with_name(name);
    }
    if let Some(recipe) = up.recipe {
        spec = spec.with_custom_recipe(crate::recipe(&recipe)?);
    }
    for check in &up.tolerate {
        spec = spec.with_tolerated(check);
    }
    // `boot` itself handles signals: it saves what the nodes say and exits with the code that a
    // shell expects.
    let cluster = spec.boot().await?;
    println!("{}", cluster.health().await?);
    println!("{}", cluster.leave().await?);
    Ok(())
}

pub(crate) async fn list(docker: &Docker) -> Result<()> {
    let clusters = kubenest::cluster::list(docker).await?;
    if clusters.is_empty() {
        println!("no clusters");
    }
    for cluster in clusters {
        let nodes = if cluster.nodes == 1 { "node " } else { "nodes" };
        println!(
            "{:<24} {:>2} {nodes}  {}",
            cluster.name, cluster.nodes, cluster.standing
        );
    }
    Ok(())
}
