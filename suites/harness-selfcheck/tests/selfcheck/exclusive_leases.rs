//! Clusters that one test at a time has: prepared once, handed on as they were, and replaced when
//! that cannot be.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use harness_selfcheck::{KUBELET_CONFIG, RECIPE, remains_of};
use kubenest::{
    Cluster, ClusterSpec, LeaseRequest, NodeSpec, Preparation,
    cluster::{self, Standing},
    engine::{self, Docker},
    images::SmallImage,
    k8s_openapi::{
        api::core::v1::{ConfigMap, Node},
        apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    },
    kube::{Api, api::Patch},
    objects::Manifests,
    wait::{self, Probe},
};
use kubenest_base::settings::Settings;
use kubenest_docker::Lease;
use serde_json::json;
use tempfile::TempDir;

/// The network's configuration in a node.
const NETWORK_CONFIG: &str = "/etc/cni/net.d/10-kubenest.conflist";
/// In the name of an image that a test loads.
const MARK: &str = "left-by-a-test";
/// The size of a disk that a test fills.
const DISK_MIB: u64 = 1800;
/// What is there before any test.
const PREPARED: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: prepared}}";
/// What a test makes beside its case.
const LEFT: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: colours.left.kubenest.dev}
spec:
  group: left.kubenest.dev
  names: {kind: Colour, plural: colours}
  scope: Cluster
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: left.kubenest.dev/v1
kind: Colour
metadata: {name: blue}
---
apiVersion: v1
kind: Namespace
metadata: {name: left}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: refuses-all}
webhooks:
  - name: refuses-all.left.kubenest.dev
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 1
    clientConfig: {url: 'https://127.0.0.1:1/'}
    rules:
      - {apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*/*']}
";

/// A cache of a test's own.
struct Place {
    engine: Docker,
    cache: TempDir,
}

impl Place {
    async fn new() -> Result<Self> {
        let found = engine::find().await?;
        let cache = tempfile::tempdir()?;
        let mut settings = Settings::from_env();
        settings.cache = cache.path().to_owned();
        settings.idle = Duration::from_secs(5);
        let engine = Docker::at(found.endpoint(), &Arc::new(settings)).await?;
        Ok(Self { engine, cache })
    }

    fn request(&self, preparation: Preparation) -> Result<LeaseRequest> {
        let spec = ClusterSpec::single_node()
            .with_recipe(RECIPE)?
            .with_engine(&self.engine);
        Ok(kubenest::lease(&spec).prepared(preparation).exclusive())
    }

    async fn wait_until_gone(&self, clusters: impl Iterator<Item = &String> + Clone) -> Result<()> {
        let gone = wait::until("all clusters to go", Duration::from_secs(90), async || {
            for name in clusters.clone() {
                match remains_of(&self.engine, name).await {
                    Ok(left) if left.is_empty() => {}
                    Ok(left) => return Probe::Pending(format!("{left:?}")),
                    Err(error) => return Probe::Pending(format!("{error:#}")),
                }
            }
            Probe::Ready(())
        });
        gone.await?;
        assert!(Lease::all(self.cache.path())?.is_empty());
        Ok(())
    }

    /// Why a cluster is not handed out again.
    async fn end_of(&self, cluster: &str) -> Result<String> {
        let all = cluster::list(&self.engine).await?.into_iter();
        let mut ours = all.filter(|listed| listed.name == cluster);
        match ours.next().map(|listed| listed.standing) {
            Some(Standing::Ended { why, .. }) => Ok(why),
            other => bail!("it stands because of {other:?}"),
        }
    }
}

fn preparation() -> Preparation {
    Preparation::new("colours")
        .apply(PREPARED)
        .run(|cluster| Box::pin(touch(cluster)))
}

async fn touch(cluster: &Cluster) -> Result<()> {
    let touch = ["touch", "/etc/prepared"];
    cluster.control_plane().exec_ok(&touch).await?;
    Ok(())
}

#[tokio::test]
async fn one_test_at_a_time_has_a_cluster_as_it_was_or_another_one() -> Result<()> {
    let place = Place::new().await?;
    let request = place.request(preparation())?;
    let (one, other) = tokio::try_join!(request.clone(), request.clone())?;
    let names = [one.name().to_owned(), other.name().to_owned()];
    assert_ne!(names[0], names[1], "each is one test's alone");

    leave_what_can_be_undone(&one).await?;
    // That evidence is kept of a failed test changes nothing either.
    let failed: Result<()> = one.case(async |_| bail!("as it was asked to")).await;
    assert!(failed.is_err());
    leave_what_lasts(&other).await?;
    // Holds keep both, so that the reason for an end can be read.
    let holds = Lease::all(place.cache.path())?;
    let holds: Vec<_> = holds.iter().map(Lease::hold).collect::<Result<_, _>>()?;
    drop((one, other));
    let (one, other) = tokio::try_join!(request.clone(), request)?;
    let again = [&one, &other].map(|cluster| cluster.name().to_owned());
    let kept: Vec<_> = again.iter().filter(|name| names.contains(name)).collect();
    assert_eq!(kept, [&names[0]], "{again:?}");
    let (kept, made) = match one.name() == names[0] {
        true => (one, other),
        false => (other, one),
    };
    is_as_it_was(&kept).await?;
    is_as_it_was(&made).await?;
    let why = place.end_of(&names[1]).await?;
    for what in [
        &format!("file '{NETWORK_CONFIG}' was changed"),
        &format!("file '{KUBELET_CONFIG}' was changed"),
        "was removed on node",
    ] {
        assert!(why.contains(what), "{why}");
    }
    drop((kept, made, holds));

    // Another content is another cluster, and the clusters of the earlier one go.
    let fails = preparation()
        .apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: more}}")
        .run(|_| Box::pin(async { anyhow::bail!("there is no sky") }));
    let error = place.request(fails)?.await.unwrap_err().report();
    assert!(error.contains("with 'colours': there is no sky"), "{error}");
    place.wait_until_gone(names.iter().chain(&again)).await
}

#[tokio::test]
async fn a_node_with_a_filled_disk_is_not_handed_on() -> Result<()> {
    let place = Place::new().await?;
    // A disk in memory, of the node's own.
    let node = NodeSpec::control_plane().with_image_disk(DISK_MIB);
    let spec = ClusterSpec::of([node])
        .with_recipe(RECIPE)?
        .with_tolerated("disk")
        .with_engine(&place.engine);
    let request = kubenest::lease(&spec).exclusive();
    let one = request.clone().await?;
    let node = one.control_plane();
    let length = format!("{}MiB", free_mib(node).await? - 1);
    let filler = format!("{}/left", node.runtime().images_folder());
    let fill = ["fallocate", "--length", &length, &filler];
    node.exec_ok(&fill).await?;

    let name = one.name().to_owned();
    let all = Lease::all(place.cache.path())?;
    let hold = all.first().context("it is leased")?.hold()?;
    drop(one);
    let other = request.await?;
    assert_ne!(other.name(), name);
    assert!(free_mib(other.control_plane()).await? > DISK_MIB / 4);
    let why = place.end_of(&name).await?;
    let filled = "MiB more are in use in '/var/lib/containerd' on node";
    assert!(why.contains(filled), "{why}");
    let names = [name, other.name().to_owned()];
    drop((other, hold));
    place.wait_until_gone(names.iter()).await
}

/// How many MiB of the disk for images are free.
async fn free_mib(node: &kubenest::node::Node) -> Result<u64> {
    let folder = node.runtime().images_folder();
    let free = ["stat", "--file-system", "--format", "%a %S", folder];
    let told = node.exec_ok(&free).await?.text();
    let numbers: Vec<u64> = told.split_whitespace().flat_map(str::parse).collect();
    Ok(numbers.iter().product::<u64>() >> 20)
}

/// A definition of a kind, a namespace, a webhook that refuses all, a taint, a stopped service, an
/// image.
async fn leave_what_can_be_undone(cluster: &Cluster) -> Result<()> {
    let node = cluster.control_plane();
    // Of the cache that all tests share: this test's own one has no parts to make an image of.
    let image = SmallImage::load(&engine::find().await?, MARK).await?;
    cluster.images().load(image.reference()).await?;
    cluster
        .case(async |case| {
            let nodes = Api::<Node>::all(case.client());
            let change = json!({
                "metadata": {"labels": {"left": "yes"}},
                "spec": {"unschedulable": true},
            });
            let change = Patch::Merge(change);
            nodes
                .patch(node.name(), &Default::default(), &change)
                .await?;
            Ok(())
        })
        .await?;
    // Not by the case, which would remove it.
    let left = Manifests::from(LEFT).read()?;
    kubenest_node::objects::apply(&cluster.client(), "default", None, &left).await?;
    node.exec_ok(&["systemctl", "stop", "kubelet"]).await?;
    Ok(())
}

/// A kubelet's setting, a file of the network, a removed image.
async fn leave_what_lasts(cluster: &Cluster) -> Result<()> {
    let node = cluster.control_plane();
    for path in [NETWORK_CONFIG, KUBELET_CONFIG] {
        node.exec_ok(&["sed", "--in-place", "$a\\ ", path]).await?;
    }
    let cri = node.cri().await?;
    let images = cri.images().await?;
    let pause = images
        .iter()
        .find(|image| image.tags.iter().any(|tag| tag.contains("pause")));
    let pause = pause.context("there is no pause image")?;
    cri.remove_image(&pause.id).await?;
    Ok(())
}

async fn is_as_it_was(cluster: &Cluster) -> Result<()> {
    let node = cluster.control_plane();
    let client = cluster.client();
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    assert_eq!(definitions.list(&Default::default()).await?.items, []);
    let prepared = Api::<ConfigMap>::namespaced(client.clone(), "default");
    prepared.get("prepared").await?;
    node.exec_ok(&["ls", "/etc/prepared"]).await?;
    let found = Api::<Node>::all(client).get(node.name()).await?;
    assert_eq!(found.spec.context("it has no spec")?.unschedulable, None);
    assert!(
        !found
            .metadata
            .labels
            .context("it has none")?
            .contains_key("left")
    );
    node.exec_ok(&["systemctl", "is-active", "kubelet"]).await?;
    let images = node.cri().await?.images().await?;
    assert!(
        !images
            .iter()
            .any(|image| image.tags.iter().any(|tag| tag.contains(MARK)))
    );
    // All works: the API server accepts objects, which the webhook would refuse.
    cluster.case(async |_| Ok(())).await
}
