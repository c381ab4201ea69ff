//! `kubenest logs`.

use std::path::PathBuf;

use clap::Args;
use kubenest::{Error, Result};
use kubenest_evidence as evidence;
use kubenest_node::node;

#[derive(Args)]
pub(crate) struct Logs {
    /// The cluster's name; without it, all clusters
    cluster: Option<String>,
    /// Make the folder in this one, instead of where KUBENEST_EVIDENCE says
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Only finish what was saved of processes that were killed, as every boot does
    #[arg(long, conflicts_with_all = ["cluster", "output"])]
    killed: bool,
}

pub(crate) async fn run(logs: &Logs) -> Result<()> {
    if logs.killed {
        let (kept, ended) = evidence::finish(kubenest::settings()).await;
        kept.iter().for_each(|kept| println!("{kept}"));
        return ended;
    }
    let docker = kubenest::engine::find().await?;
    let clusters = match &logs.cluster {
        Some(cluster) => vec![cluster.clone()],
        None => node::clusters(&docker).await?,
    };
    if clusters.is_empty() {
        return Err(Error::not_found("there is no cluster"));
    }
    let mut ended = Ok(());
    for cluster in clusters {
        match evidence::of_cluster(&docker, &cluster, logs.output.as_deref()).await {
            Ok(kept) => println!("cluster   {cluster}\n{kept}"),
            // A cluster that is being removed at this moment must not prevent the others.
            Err(error) => ended = ended.and(Err(error)),
        }
    }
    ended
}
