//! Boots a cluster, uses its API server by client and by kubeconfig, and leaves it running: `far
//! NAME`.
#![expect(clippy::print_stdout, reason = "its caller reads what it saw")]

use anyhow::{Result, bail};
use harness_selfcheck::{RECIPE, nodes_by_kubeconfig};
use kubenest::{ClusterSpec, k8s_openapi::api::core::v1::Pod};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name] = args.as_slice() else {
        bail!("far NAME");
    };
    let spec = ClusterSpec::single_node().with_name(name).with_keep(true);
    let cluster = spec.with_recipe(RECIPE)?.boot().await?;
    cluster
        .case(async |case| {
            let pods = case.api::<Pod>().list(&Default::default()).await?;
            println!("pods {}", pods.items.len());
            Ok(())
        })
        .await?;
    println!(
        "nodes {:?}",
        nodes_by_kubeconfig(cluster.kubeconfig()).await?
    );
    println!("kubeconfig {}", cluster.kubeconfig().display());
    println!("{}", cluster.leave().await?);
    Ok(())
}
