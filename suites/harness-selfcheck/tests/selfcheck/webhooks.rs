//! Admission webhooks that a test serves, on a real cluster.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use harness_selfcheck::RECIPE;
use kubenest::{
    Case, Cluster, ClusterSpec, Error, Origin,
    k8s_openapi::api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::{ConfigMap, Namespace},
    },
    kube::{Api, ResourceExt, api::PostParams, core::admission::AdmissionResponse},
    wait::{self, Probe},
};
use serde_json::json;
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_secs(60);
/// Requests at once.
const MANY: usize = 40;

/// As kubebuilder writes it.
const MUTATING: &str = "\
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: colours}
webhooks:
- name: mutate.example.com
  admissionReviewVersions: [v1]
  clientConfig: {service: {name: webhook-service, namespace: system, path: /mutate}}
  failurePolicy: Fail
  sideEffects: None
  rules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
";

/// As short as can be, and asked for every request.
const VALIDATING: &str = "\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: colours}
webhooks:
- name: validate.example.com
  rules: [{apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*/*']}]
";

#[tokio::test]
async fn a_test_serves_webhooks_to_the_api_server() -> Result<()> {
    let cluster = ClusterSpec::single_node()
        .with_recipe(RECIPE)?
        .boot()
        .await?;
    let ports = listening(&cluster).await?;
    let namespace = cluster
        .case(async |case| {
            serve_colours(case).await?;
            check_reviews(case).await?;
            // The same manifests beside it, and what is made there is no business of the first.
            let beside = case.cluster().case(async |other| {
                other.create(&map("grey")?).await?;
                other.delete::<ConfigMap>("grey").await?;
                serve_colours(other).await?;
                check_reviews(other).await
            });
            Box::pin(beside).await?;
            assert!(listening(case.cluster()).await? != ports);
            Ok(case.namespace().to_owned())
        })
        .await?;
    // Its configurations asked for every request, so that the namespace ends only without them.
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    kubenest::objects::gone(namespaces, &namespace, DEADLINE).await?;
    check_is_clean(&cluster, &ports).await?;

    check_panic(&cluster).await?;
    check_is_clean(&cluster, &ports).await?;
    Ok(cluster.down().await?)
}

fn map(name: &str) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}}))?)
}

/// Labels each ConfigMap, and refuses what is named grey.
async fn serve_colours(case: &Case<'_>) -> Result<()> {
    let reviewed = Arc::new(AtomicUsize::new(0));
    let count = reviewed.clone();
    case.webhook(MUTATING, move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let label =
                json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]);
            let patch = serde_json::from_value(label).expect("it is a patch");
            let response = AdmissionResponse::from(&request).with_patch(patch);
            response.expect("it is JSON")
        }
    })
    .await?;
    let count = reviewed.clone();
    case.webhook(VALIDATING, move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let response = AdmissionResponse::from(&request);
            match request.name.as_str() {
                "grey" => response.deny("grey is no colour"),
                _ => response,
            }
        }
    })
    .await?;
    // What only shows that the webhooks are called is no request of the test's.
    assert_eq!(reviewed.load(Ordering::SeqCst), 0);
    Ok(())
}

async fn check_reviews(case: &Case<'_>) -> Result<()> {
    let refused = case.create(&map("grey")?).await.expect_err("it is refused");
    assert_eq!(refused.origin(), Origin::Test);
    let said = refused.report();
    let words = "admission webhook \"validate.example.com\" denied the request: grey is no colour";
    assert!(said.contains(words), "{said}");
    let mut asked = JoinSet::new();
    for at in 0..MANY {
        let (api, map) = (case.api::<ConfigMap>(), map(&format!("many-{at}"))?);
        asked.spawn(async move { api.create(&PostParams::default(), &map).await });
    }
    for made in asked.join_all().await {
        assert_eq!(made?.labels()["seen"], "yes");
    }
    Ok(())
}

/// A failed assertion in a handler fails the request and the test.
async fn check_panic(cluster: &Cluster) -> Result<()> {
    let failed = cluster
        .case(async |case| {
            case.webhook(VALIDATING, |request| async move {
                assert_ne!(request.name, "grey", "must be no colour");
                AdmissionResponse::from(&request)
            })
            .await?;
            let refused = case.create(&map("grey")?).await.expect_err("it panics");
            let said = refused.report();
            assert!(said.contains("must be no colour"), "{said}");
            case.create(&map("blue")?).await?;
            Ok(())
        })
        .await
        .expect_err("a handler panicked");
    let failed: &Error = failed.downcast_ref().context("it is kubenest's")?;
    assert_eq!(failed.origin(), Origin::Test);
    let said = failed.report();
    assert!(
        said.starts_with("the handler of a webhook panicked: ")
            && said.contains("must be no colour"),
        "{said}"
    );
    Ok(())
}

/// The ports at which something listens in the control plane's node.
async fn listening(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let node = cluster.control_plane();
    let sockets = node.exec_ok(&["ss", "-Hltn"]).await?.text();
    let ports = sockets
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    Ok(ports.map(str::to_owned).collect())
}

async fn check_is_clean(cluster: &Cluster, ports: &BTreeSet<String>) -> Result<()> {
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client());
    assert_eq!(validating.list(&Default::default()).await?.items, []);
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(cluster.client());
    assert_eq!(mutating.list(&Default::default()).await?.items, []);
    let list = ["ls", "/run"];
    wait::until("the node to listen no longer", DEADLINE, async || {
        let left = async {
            let now = listening(cluster).await?;
            let files = cluster.control_plane().exec_ok(&list).await?.text();
            let files = files
                .lines()
                .filter(|name| name.starts_with("kubenest-listener"));
            let ports = now.difference(ports).map(String::as_str);
            anyhow::Ok(ports.chain(files).collect::<Vec<_>>().join(", "))
        };
        match left.await {
            Ok(left) if left.is_empty() => Probe::Ready(()),
            Ok(left) => Probe::Pending(left),
            Err(error) => Probe::Pending(error.to_string()),
        }
    })
    .await?;
    Ok(())
}
