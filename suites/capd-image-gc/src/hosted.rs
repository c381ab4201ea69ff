//! Cluster API's controllers in the cluster that they have made, as after `clusterctl init` there.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use kubenest::{
    Cluster,
    k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod},
    kube::{
        self, Api, Client,
        api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams},
    },
    objects,
    wait::{self, Probe},
};
use kubenest_docker::ExecOutput;
use kubenest_fixtures::cluster_api::{ClusterApi, PROVIDERS, Provider};
use serde_json::json;

use crate::{
    place::Place,
    workload::{GROUP, KUBECONFIG},
};

const SLOW: Duration = Duration::from_secs(240);

/// Installs the controllers, with the images of `api`, in the workload cluster, on the nodes of one
/// group.
///
/// # Errors
/// A manifest is refused.
pub async fn install_on(place: &Place, api: &ClusterApi, group: &str) -> Result<()> {
    let selector = json!({GROUP: group});
    let tools = &place.tools;
    Ok(tools
        .install_controllers(KUBECONFIG, api, &selector)
        .await?)
}

/// Waits until all controllers that a cluster was given last are available, and answer the API server.
///
/// # Errors
/// One does not.
pub async fn until_available(client: &Client) -> Result<()> {
    for provider in PROVIDERS {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), provider.namespace);
        let what = format!("{} to be available", provider.deployment);
        let look = |found: Option<&Deployment>| match found {
            Some(found) if is_available(found) => Probe::Ready(()),
            found => Probe::Pending(format!(
                "{:?}",
                found.and_then(|found| found.status.clone())
            )),
        };
        objects::until(deployments, provider.deployment, &what, SLOW, look).await?;
        until_it_admits(client, provider).await?;
    }
    Ok(())
}

/// Waits until the API server reaches the webhook of a controller: its pod is available a moment before
/// kube-proxy leads to it.
async fn until_it_admits(client: &Client, provider: Provider) -> Result<()> {
    let (group, kind) = provider.admits;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1beta1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let object = DynamicObject::new("asked", &resource).data(json!({"spec": {}}));
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let what = format!("the webhook of {} to answer", provider.program);
    let asked = wait::until(&what, SLOW, async || {
        // It may refuse the object.
        match api.create(&dry_run, &object).await {
            Err(error) if error.to_string().contains("failed calling webhook") => {
                Probe::Pending(error.to_string())
            }
            Ok(_) | Err(kube::Error::Api(_)) => Probe::Ready(()),
            Err(error) => Probe::Pending(error.to_string()),
        }
    });
    Ok(asked.await?)
}

/// Whether the one pod that runs is of the newest template.
fn is_available(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else {
        return false;
    };
    let one = Some(1);
    status.observed_generation == deployment.metadata.generation
        && (
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        ) == (one, one, one)
}

/// Waits until every controller waits for its image, and returns the reasons.
///
/// # Errors
/// One runs.
pub async fn reasons_to_wait(workload: &Cluster) -> Result<BTreeSet<String>> {
    let all = async || -> Result<BTreeSet<String>> {
        let mut reasons = BTreeSet::new();
        for provider in PROVIDERS {
            let pods: Api<Pod> = Api::namespaced(workload.client(), provider.namespace);
            let pods = pods.list(&ListParams::default()).await?;
            let pod = pods.items.into_iter().next();
            let status = pod.and_then(|pod| pod.status).context("no pod yet")?;
            let first = status
                .container_statuses
                .unwrap_or_default()
                .into_iter()
                .next();
            let waiting = first.and_then(|first| first.state?.waiting?.reason);
            let reason = waiting.with_context(|| format!("{} has no reason", provider.program))?;
            anyhow::ensure!(reason.contains("Image"), "{reason}");
            reasons.insert(reason);
        }
        Ok(reasons)
    };
    let what = "all controllers to wait for their images";
    let found = wait::until(what, SLOW, async || {
        Probe::from_result(all().await.map_err(|error| format!("{error:#}")))
    });
    Ok(found.await?)
}

/// Moves Cluster API's objects from one cluster to another, by the kubeconfigs in the management
/// cluster's node, and returns what clusterctl said.
///
/// # Errors
/// The node does not run.
pub async fn move_objects(place: &Place, from: &str, to: &str) -> Result<ExecOutput> {
    let args = [
        "move",
        "--kubeconfig",
        from,
        "--to-kubeconfig",
        to,
        "--namespace=default",
    ];
    Ok(place.tools.clusterctl(&args).await?)
}

/// The names of the Clusters that a cluster manages.
///
/// # Errors
/// It does not answer.
pub async fn managed(place: &Place, kubeconfig: &str) -> Result<String> {
    let args = [
        "get",
        "clusters.cluster.x-k8s.io",
        "--output=name",
        "--namespace=default",
    ];
    let told = place.tools.kubectl(kubeconfig, &args).await?;
    Ok(told.trim().to_owned())
}
