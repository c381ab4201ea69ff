//! What the tests share: a prepared cluster, the operator, and pages.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use anyhow::Result;
use downstream::{PORT, Page, PageSpec, controller};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, CustomResourceExt, ResourceExt, api::ListParams};
use kubenest::{Case, Cluster, Preparation, images::SmallImage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

/// For what happens in seconds, also on a slow machine.
pub const SOON: Duration = Duration::from_secs(60);

/// What makes the image this project's own: another text is another image.
const MARK: &str = "serves pages";

/// What is done to the cluster once, for all tests: the kind and the image are there.
pub fn with_pages() -> Result<Preparation> {
    let definition = serde_json::to_value(Page::crd())?;
    let preparation = Preparation::new(format!("pages, {MARK}")).apply(definition);
    Ok(preparation.run(|cluster| {
        Box::pin(async {
            let image = image(cluster).await?;
            cluster.images().load(image.as_str()).await?;
            Ok(())
        })
    }))
}

/// The image of pages' pods, in the engine. A project with an image of its own builds it before.
pub async fn image(cluster: &Cluster) -> Result<String> {
    let image = SmallImage::load(cluster.docker(), MARK).await?;
    Ok(image.reference().to_owned())
}

/// The operator, in the test's own process.
pub struct Operator(JoinHandle<()>);

impl Operator {
    /// Starts it with all rights in the case's namespace.
    pub async fn start(case: &Case<'_>) -> Result<Self> {
        Self::start_with(case, case.client()).await
    }

    /// Starts it with the rights of a client.
    pub async fn start_with(case: &Case<'_>, client: Client) -> Result<Self> {
        let image = image(case.cluster()).await?;
        let run = controller::run(client, case.namespace().to_owned(), image);
        Ok(Self(tokio::spawn(run)))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A page with this text and number of pods.
pub fn page(text: &str, replicas: i32) -> Page {
    let text = text.to_owned();
    Page::new("page", PageSpec { text, replicas })
}

/// Waits until this many pods of the page are ready.
pub async fn wait_until_ready(case: &Case<'_>, pods: i32) -> Result<()> {
    let waited = case.wait_for_field("Page", "page", ".status.ready", pods, SOON);
    waited.await?;
    Ok(())
}

/// The page's pods, without those that are being removed.
pub async fn pods(case: &Case<'_>) -> Result<Vec<String>> {
    let params = ListParams::default().labels("page=page");
    let pods = case.api::<Pod>().list(&params).await?;
    let stay = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(stay.map(|pod| pod.name_any()).collect())
}

/// What a pod serves.
pub async fn served(case: &Case<'_>, pod: &str) -> Result<String> {
    let mut stream = case.port_forward(pod, PORT).await?;
    stream
        .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}
