//! `case`: what a test's case costs beyond its body: empty cases on a leased cluster, beside the
//! requests to the API server that such a case makes.

use std::{num::NonZeroUsize, time::Instant};

use anyhow::Result;
use kubenest::{
    Cluster, ClusterSpec,
    k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount},
    kube::{
        Api,
        api::{DeleteParams, ListParams, PostParams},
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::bench::median;

/// Runs empty cases on a leased cluster, and prints the median of their times
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many cases
    #[arg(long, default_value = "20")]
    rounds: NonZeroUsize,
    /// The node image
    #[arg(long, default_value = "v1.32.1-containerd-2.0.2")]
    recipe: String,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let spec = ClusterSpec::single_node().with_recipe(&args.recipe)?;
    let cluster = kubenest::lease(&spec).await?;
    let (mut cases, mut requests) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds.get() {
        let begin = Instant::now();
        cluster.case(async |_| Ok(())).await?;
        cases.push(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        make_requests(&cluster).await?;
        requests.push(begin.elapsed().as_secs_f64());
    }
    let (case, request) = (median(cases.into_iter()), median(requests.into_iter()));
    println!(
        "an empty case: {:.0} ms; its requests to the API server: {:.0} ms; beyond them: {:.0} ms",
        case * 1e3,
        request * 1e3,
        (case - request) * 1e3
    );
    Ok(cluster.down().await?)
}

/// The requests of an empty case, one after another.
async fn make_requests(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let new = object(json!({"metadata": {"generateName": "requests-"}}))?;
    let made = namespaces.create(&PostParams::default(), &new).await?;
    let name = made.metadata.name.unwrap_or_default();
    let account: ServiceAccount = object(json!({"metadata": {"name": "default"}}))?;
    let root: ConfigMap = object(json!({"metadata": {"name": "kube-root-ca.crt"}}))?;
    let params = PostParams::default();
    let accounts = Api::namespaced(client.clone(), &name);
    let roots = Api::namespaced(client.clone(), &name);
    // A controller may be faster.
    accounts.create(&params, &account).await.ok();
    roots.create(&params, &root).await.ok();
    let secrets = Api::<Secret>::namespaced(client, &name);
    secrets.list(&ListParams::default()).await?;
    namespaces.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}

fn object<T: DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}
