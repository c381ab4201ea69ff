//! The real kind CLI boots kubenest's node images: pods of its clusters have DNS and Services, and
//! everything that kind creates has kubenest's labels.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness_selfcheck::docker;
use kubenest::{
    Cluster,
    engine::Docker,
    health::Expected,
    images::{Images, Pin, SmallImage},
    k8s_openapi::api::core::v1::Namespace,
    kube::Api,
    node::{ExecOutput, Role},
    recipe::{NodeImage, Recipe},
    wait::{self, Probe},
};
use kubenest_docker::{Owner, Scope, labels, sweep};
use kubenest_fixtures::kind::Kind;
use kubenest_node::node;

/// Resolves the API server's Service by name, and connects to its address.
const USE_NETWORK: &str = include_str!("use-network.sh");

#[tokio::test]
async fn kind_0_26_boots_containerd_1_7() -> Result<()> {
    check_boot("0.26.0", "v1.32.1-containerd-1.7.24").await
}

#[tokio::test]
async fn kind_0_27_boots_containerd_2_0() -> Result<()> {
    check_boot("0.27.0", "v1.32.1-containerd-2.0.2").await
}

async fn check_boot(release: &str, recipe: &str) -> Result<()> {
    let engine = kubenest::engine::find().await?;
    let image = NodeImage::ensure(&engine, &Recipe::named(recipe)?).await?;
    let kind = Kind::release(release).await?;
    let cluster = format!("selfcheck-{}", std::process::id());
    let works = create_and_use(&engine, &kind, &cluster, &image).await;
    let swept = sweep(&engine, Scope::Cluster(&cluster)).await?;
    works?;
    assert_eq!(swept.containers, [format!("{cluster}-control-plane")]);
    assert_eq!(swept.networks, [format!("kubenest-{cluster}")]);
    let left = docker(
        &engine,
        &["ps", "-aq", "--filter", &format!("name={cluster}")],
    )
    .await?;
    ensure!(left.is_empty(), "left after the sweep: {left}");
    Ok(())
}

async fn create_and_use(
    engine: &Docker,
    kind: &Kind,
    cluster: &str,
    image: &NodeImage,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    kind.create(engine, cluster, &image.reference, &kubeconfig)
        .await?;
    let name = format!("{cluster}-control-plane");
    let state = engine
        .container(&name)
        .await?
        .context("kind made no node of that name")?;
    let owner = Owner::current().to_string();
    assert_eq!(state.labels.get(labels::OWNER), Some(&owner));
    assert!(std::fs::read_to_string(&kubeconfig)?.contains("127.0.0.1"));

    let small = SmallImage::load(engine, cluster).await?;
    let load = kind.command(engine, cluster, &kubeconfig).await?;
    load.args(["load", "docker-image", small.reference(), "--name", cluster])
        .run()
        .await?;
    // kubenest also works with a cluster that kind created: it finds the loaded image, and pins it.
    let nodes = node::of_cluster(engine, cluster).await?;
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].role(), Role::ControlPlane);
    let loaded = Images::of(engine, &nodes).load(small.reference()).await?;
    assert_eq!(loaded.nodes[0].pin, Pin::Held);
    check_attached(engine, cluster, &small).await?;
    let image = format!("--image={}", small.reference());
    let run = [
        "run",
        "user",
        &image,
        "--image-pull-policy=Never",
        "--restart=OnFailure",
    ];
    let run = [
        &run[..],
        &["--command", "--", "/bin/busybox", "sh", "-c", USE_NETWORK],
    ]
    .concat();
    let patience = Duration::from_secs(180);
    wait::until(
        "the default service account",
        patience,
        async || match kubectl(engine, &name, &run).await {
            Ok(output) if output.status == 0 => Probe::Ready(()),
            Ok(output) => Probe::Pending(output.stderr),
            Err(error) => Probe::Failed(error),
        },
    )
    .await?;
    let phase = ["get", "pod", "user", "-o", "jsonpath={.status.phase}"];
    wait::until(
        "the pod to use DNS and a Service",
        patience,
        async || match kubectl(engine, &name, &phase).await {
            Ok(output) if output.text() == "Succeeded" => Probe::Ready(()),
            Ok(output) => Probe::Pending(output.text()),
            Err(error) => Probe::Failed(error),
        },
    )
    .await?;
    Ok(small.remove().await?)
}

/// Tests run on a cluster of kind's as on any other, and leave it as it was.
async fn check_attached(engine: &Docker, cluster: &str, small: &SmallImage) -> Result<()> {
    let untold = Cluster::attach(engine, "no-such-cluster", Expected::default()).await;
    let said = untold.expect_err("there is none").report();
    ensure!(said.starts_with("no cluster 'no-such-cluster'"), "{said}");

    let attached = Cluster::attach(engine, cluster, Expected::default()).await?;
    assert_eq!(attached.versions().kubernetes, "1.32.1");
    let namespace = attached
        .case(async |case| {
            let pod = small.pod("on-kinds-cluster", small.reference());
            case.create(&pod).await?;
            case.logs_until("on-kinds-cluster", small.mark(), Duration::from_secs(60))
                .await?;
            Ok(case.namespace().to_owned())
        })
        .await?;
    let bundle = attached.evidence().await?;
    let log = bundle.folder.join(format!("nodes/{cluster}-control-plane"));
    ensure!(log.is_dir(), "the bundle has {log:?} not");
    let api = Api::<Namespace>::all(attached.client());
    let gone = async || match api.get_opt(&namespace).await {
        Ok(None) => Probe::Ready(()),
        Ok(Some(_)) => Probe::Pending("it is there".to_owned()),
        Err(error) => Probe::Pending(error.to_string()),
    };
    wait::until(
        "the namespace of the case to go",
        Duration::from_secs(60),
        gone,
    )
    .await?;
    let hint = attached.leave().await?;
    ensure!(hint.contains("stays for those who made it"), "{hint}");
    let attached = Cluster::attach(engine, cluster, Expected::default()).await?;
    attached.down().await?;
    let node = engine
        .container(&format!("{cluster}-control-plane"))
        .await?;
    ensure!(node.is_some_and(|node| node.running), "its node is gone");
    Ok(())
}

async fn kubectl(engine: &Docker, node: &str, args: &[&str]) -> kubenest::Result<ExecOutput> {
    let argv = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"];
    engine.exec(node, &[&argv[..], args].concat(), None).await
}
