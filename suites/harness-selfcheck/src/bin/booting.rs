//! Boots a cluster of two nodes and waits to be killed.
//!
//! `booting NAME [kept|left|nested]`: with `kept` the cluster is kept from the start of its boot; with
//! `left` it is left running after the boot, and the program ends; with `nested` it has one node and
//! another cluster in a pod, called `NAME-in`; it says when
//! that is up.
#![expect(clippy::print_stdout, reason = "it says how to remove what is left")]

use anyhow::{Result, bail};
use harness_selfcheck::RECIPE;
use kubenest::ClusterSpec;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (name, stays) = match args.as_slice() {
        [name] => (name, ""),
        [name, stays] => (name, stays.as_str()),
        _ => bail!("booting NAME [kept|left|nested]"),
    };
    if stays == "nested" {
        return nest(name).await;
    }
    let spec = ClusterSpec::with_workers(1)
        .with_name(name)
        .with_keep(stays == "kept");
    let cluster = spec.with_recipe(RECIPE)?.boot().await?;
    if stays == "left" {
        println!("{}", cluster.leave().await?);
        return Ok(());
    }
    std::future::pending().await
}

async fn nest(name: &str) -> Result<()> {
    let spec = ClusterSpec::single_node().with_recipe(RECIPE)?;
    let outer = spec.clone().with_name(name).boot().await?;
    let inner = outer.nest(&spec.with_name(format!("{name}-in"))).await?;
    println!("{} is up", inner.name());
    std::future::pending().await
}
