//! Boots a cluster of two nodes and waits to be killed.
//!
//! `booting NAME [kept]`: with a second argument the cluster is to stay.

use anyhow::{Result, bail};
use harness_selfcheck::RECIPE;
use kubenest::ClusterSpec;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (name, kept) = match args.as_slice() {
        [name] => (name, false),
        [name, _] => (name, true),
        _ => bail!("booting NAME [kept]"),
    };
    let spec = ClusterSpec::with_workers(1).with_name(name).keep(kept);
    let _cluster = spec.with_recipe(RECIPE)?.boot().await?;
    std::future::pending().await
}
