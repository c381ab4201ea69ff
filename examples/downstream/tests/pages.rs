//! What becomes of a page. All tests share one cluster, each in a namespace of its own.

mod common;

use anyhow::{Context, Result, ensure};
use common::{Operator, SOON, page, pods, served, wait_until_ready, with_pages};
use downstream::{MOST_REPLICAS, Page, webhook};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Secret},
};
use kube::{Api, Client, api::Patch};
use kubenest::{Case, wait::Probe};
use rstest::rstest;
use serde_json::json;

#[kubenest::test(prepared = with_pages)]
#[rstest]
#[case::one(1)]
#[case::three(3)]
async fn a_page_has_as_many_pods_as_it_asks_for(case: Case, #[case] replicas: i32) -> Result<()> {
    let _operator = Operator::start(case).await?;
    case.create(&page("hello", replicas)).await?;
    wait_until_ready(case, replicas).await?;
    ensure!(pods(case).await?.len() == usize::try_from(replicas)?);
    Ok(())
}

#[kubenest::test(prepared = with_pages)]
async fn a_page_serves_its_text(case: Case) -> Result<()> {
    let _operator = Operator::start(case).await?;
    case.create(&page("hello", 1)).await?;
    wait_until_ready(case, 1).await?;
    let pods = pods(case).await?;
    assert_eq!(served(case, &pods[0]).await?, "hello");
    Ok(())
}

#[kubenest::test(prepared = with_pages)]
async fn another_text_is_served_instead(case: Case) -> Result<()> {
    let _operator = Operator::start(case).await?;
    case.create(&page("hello", 1)).await?;
    wait_until_ready(case, 1).await?;
    let other = Patch::Merge(json!({"spec": {"text": "good bye"}}));
    case.patch::<Page>("page", &other).await?;
    let other = async || match pods(case).await {
        Ok(pods) => match pods.as_slice() {
            [pod] => Probe::from_result(served(case, pod).await),
            several => Probe::Pending(format!("{several:?}")),
        },
        Err(error) => Probe::Pending(format!("{error:#}")),
    };
    let other = async || match other().await {
        Probe::Ready(text) if text != "good bye" => Probe::Pending(text),
        probe => probe,
    };
    case.until("the other text", SOON, other).await?;
    Ok(())
}

#[kubenest::test(prepared = with_pages)]
async fn a_page_takes_all_of_it_with_it(case: Case) -> Result<()> {
    let _operator = Operator::start(case).await?;
    case.create(&page("hello", 1)).await?;
    wait_until_ready(case, 1).await?;
    let pod = pods(case).await?.pop().context("it has a pod")?;
    case.delete::<Page>("page").await?;
    case.gone::<Deployment>("page", SOON).await?;
    case.gone::<ConfigMap>("page", SOON).await?;
    case.gone::<Pod>(&pod, SOON).await?;
    Ok(())
}

#[kubenest::test(prepared = with_pages)]
async fn a_deployment_that_somebody_removed_comes_back(case: Case) -> Result<()> {
    let _operator = Operator::start(case).await?;
    case.create(&page("hello", 1)).await?;
    let first = case.deployment_available("page", SOON).await?;
    case.delete::<Deployment>("page").await?;
    let another = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|found| found.metadata.uid != first.metadata.uid)
    };
    case.wait("page", another, SOON).await?;
    case.deployment_available("page", SOON).await?;
    Ok(())
}

#[kubenest::test(prepared = with_pages)]
async fn a_page_without_text_is_refused(case: Case) -> Result<()> {
    let error = case.create(&page("", 1)).await;
    let error = error.expect_err("its schema asks for a text").report();
    ensure!(error.contains("spec.text"), "{error}");
    Ok(())
}

#[kubenest::test(prepared = with_pages)]
async fn the_webhook_refuses_more_pods_than_a_page_may_have(case: Case) -> Result<()> {
    case.webhook(webhook::configuration(), async |request| {
        webhook::admit(&request)
    })
    .await?;
    let error = case.create(&page("hello", MOST_REPLICAS + 1)).await;
    let error = error.expect_err("the webhook must refuse it").report();
    ensure!(
        error.contains("a page has at most 5 pods, not 6"),
        "{error}"
    );
    case.create(&page("hello", MOST_REPLICAS)).await?;
    Ok(())
}

#[kubenest::test(prepared = with_pages)]
async fn the_operator_may_do_what_it_must_and_no_more(case: Case) -> Result<()> {
    case.apply(std::path::Path::new("deploy/rbac.yaml")).await?;
    let client: Client = case.client_as("operator").await?;
    let _operator = Operator::start_with(case, client.clone()).await?;
    case.create(&page("hello", 1)).await?;
    wait_until_ready(case, 1).await?;
    let secrets = Api::<Secret>::default_namespaced(client);
    let refused = secrets.list(&Default::default()).await;
    let refused = refused.expect_err("it has no right to");
    ensure!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403),
        "{refused}"
    );
    Ok(())
}
