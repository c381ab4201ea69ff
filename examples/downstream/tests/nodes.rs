//! Pages on nodes that change: the tests that change one have a cluster for themselves.

mod common;

use anyhow::{Result, ensure};
use common::{Operator, SOON, image, page, pods, served, wait_until_ready, with_pages};
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, ResourceExt, api::Patch};
use kubenest::{Case, Cluster, wait::Probe};
use serde_json::json;

#[test_log::test(kubenest::test(prepared = with_pages))]
async fn the_kind_is_served_before_any_test(client: Client) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(client);
    let pages = definitions.get("pages.example.com").await?;
    assert_eq!(pages.spec.names.kind, "Page");
    Ok(())
}

#[kubenest::test(prepared = with_pages)]
async fn the_image_is_on_every_node(cluster: &Cluster) -> Result<()> {
    let image = image(cluster).await?;
    for node in cluster.nodes() {
        let listed = node.exec_ok(&["ctr", "-n", "k8s.io", "images", "ls", "-q"]);
        let listed = listed.await?.text();
        ensure!(listed.lines().any(|line| line == image), "{listed}");
    }
    Ok(())
}

#[kubenest::test(prepared = with_pages, exclusive)]
async fn a_page_is_served_while_the_runtime_restarts(case: Case) -> Result<()> {
    let _operator = Operator::start(case).await?;
    case.create(&page("hello", 1)).await?;
    wait_until_ready(case, 1).await?;
    let before = pods(case).await?;
    let restart = ["systemctl", "restart", "containerd"];
    case.node().exec_ok(&restart).await?;
    let text = async || Probe::from_result(served(case, &before[0]).await);
    assert_eq!(case.until("its text", SOON, text).await?, "hello");
    assert_eq!(pods(case).await?, before);
    let pod: Pod = case.get(&before[0]).await?;
    let containers = pod.status.and_then(|status| status.container_statuses);
    ensure!(containers.is_some_and(|all| all[0].restart_count == 0));
    Ok(())
}

#[kubenest::test(prepared = with_pages, exclusive)]
async fn a_page_waits_for_a_node_without_a_taint(case: Case) -> Result<()> {
    let name = case.node().name();
    let taint = json!({"key": "example.com/full", "effect": "NoSchedule"});
    let tainted = Patch::Merge(json!({"spec": {"taints": [taint]}}));
    case.patch::<Node>(name, &tainted).await?;
    let _operator = Operator::start(case).await?;
    case.create(&page("hello", 1)).await?;
    let events = async || match case.events().await {
        Ok(events) if events.contains("untolerated taint") => Probe::Ready(()),
        Ok(events) => Probe::Pending(events),
        Err(error) => Probe::Failed(error),
    };
    case.until("the scheduler to say why", SOON, events).await?;

    let free = Patch::Merge(json!({"spec": {"taints": null}}));
    let node = case.patch::<Node>(name, &free).await?;
    assert_eq!(node.name_any(), name);
    wait_until_ready(case, 1).await
}
