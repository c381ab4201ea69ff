//! The health gate on real nodes: it passes good ones, and names the fault of bad ones.

use std::{fs, slice, time::Duration};

use harness_selfcheck::{KUBELET_CONFIG, change_kubelet_config};
use kubenest::{
    Cluster, ClusterSpec, ErrorKind, Result,
    engine::Docker,
    health::{Expected, Report, Verdict},
    node::Node,
    recipe::{NodeImage, Recipe},
    wait::{self, Probe},
};
use kubenest_health::health;

const GOOD: &str = "v1.32.1-containerd-2.0.2";
const SKEWED: &str = "skew-1.7.24-shim-2.0.2";
const PAUSE: &str = "registry.k8s.io/pause:3.10";

/// How long a node may take to be healthy again on a busy machine.
const SOON: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_good_node_passes_and_each_fault_is_named() -> anyhow::Result<()> {
    // The gate expects the kubelet settings of the cluster's spec.
    let evict = "{kind: KubeletConfiguration, evictionHard: {nodefs.inodesFree: 1%}}";
    let spec = ClusterSpec::single_node().with_recipe(GOOD)?;
    let spec = spec.with_image_collection().with_kubeadm_patch(evict)?;
    let cluster = spec.boot().await?;
    let (nodes, client) = (cluster.nodes(), cluster.client());
    let node = &nodes[0];
    let report = cluster.health().await?;
    assert_eq!(report.findings.len(), 12, "{report}");
    assert!(
        report.findings.iter().all(|f| f.verdict == Verdict::Passed),
        "{report}"
    );

    // With other expectations the same node is refused.
    let mut other = Expected::default();
    assert_refused(health::gate(nodes, &client, &other).await, "kubelet", node);
    other.snapshotter = Some("native".into());
    other.tolerated.push("kubelet".into());
    assert_refused(
        health::gate(nodes, &client, &other).await,
        "snapshotter",
        node,
    );

    check_kubelet_settings_are_restored(&cluster).await?;

    // An upgrade without a restart of the daemon.
    let binary = "/usr/local/bin/containerd";
    node.exec_ok(&["cp", binary, "/usr/local/bin/upgraded"])
        .await?;
    node.exec_ok(&["mv", "/usr/local/bin/upgraded", binary])
        .await?;
    assert_refused(cluster.health().await, "daemon", node);
    node.exec_ok(&["systemctl", "restart", "containerd"])
        .await?;
    wait::until("the restarted daemon to be healthy", SOON, async || {
        Probe::from_result(cluster.health().await)
    })
    .await?;
    Ok(cluster.down().await?)
}

/// The gate reports changed kubelet settings; before the next test they are restored, and the steps
/// in the evidence say so.
async fn check_kubelet_settings_are_restored(cluster: &Cluster) -> anyhow::Result<()> {
    let node = cluster.control_plane();
    let asked = node.read_file(KUBELET_CONFIG).await?;
    let drift_report = change_kubelet_config(node).await?;
    node.exec_ok(&["systemctl", "restart", "kubelet"]).await?;
    wait::until("the gate to tell of it", SOON, async || {
        match cluster.health().await {
            Err(error) if error.report().contains(&drift_report) => Probe::Ready(()),
            health => Probe::Pending(format!("{health:?}")),
        }
    })
    .await?;
    cluster.case(async |_| Ok(())).await?;
    assert_eq!(node.read_file(KUBELET_CONFIG).await?, asked);
    let kept = cluster.evidence().await?.folder;
    let page = fs::read_to_string(kept.join("index.html"))?;
    assert!(page.contains("gate: put back the kubelet's settings"));
    Ok(fs::remove_dir_all(kept)?)
}

#[tokio::test]
async fn a_shim_newer_than_the_daemon_is_refused_unless_tolerated() -> anyhow::Result<()> {
    let docker = kubenest::engine::find().await?;
    let node = start(&docker, SKEWED).await?;

    assert_refused(gate(&node, &Expected::default()).await, "shim", &node);
    let report = gate(&node, &Expected::default().with_tolerated("shim")).await?;
    let failed: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.verdict == Verdict::Failed)
        .collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert!(
        failed[0].observed.contains("shim 2.0.2 at /usr/local/bin/"),
        "{report}"
    );
    assert!(failed[0].observed.contains("daemon 1.7.24"), "{report}");
    let cure = failed[0].cure.as_deref().unwrap_or_default();
    assert!(
        cure.contains("install the shim of containerd 1.7.24"),
        "{report}"
    );

    // Nothing is left of the shims that the check started.
    let sockets = ["find", "/run/containerd/s", "-mindepth", "1"];
    assert_eq!(node.exec(&sockets).await?.text(), "");
    let servers = ["pgrep", "--full", "--list-full", "namespace kubenest"];
    assert_eq!(node.exec(&servers).await?.text(), "");

    // The check is right: a container fails in the same way.
    let run = [
        "ctr",
        "--namespace",
        "k8s.io",
        "run",
        "--rm",
        PAUSE,
        "probe",
    ];
    let run = node.exec(&run).await?;
    assert_ne!(run.status, 0);
    assert!(
        run.stderr.contains("unsupported shim version (3)"),
        "{}",
        run.stderr
    );
    Ok(docker.remove_container(node.name()).await?)
}

#[tokio::test]
async fn a_boot_with_a_wrong_snapshotter_ends_with_the_cause() -> anyhow::Result<()> {
    let expected = Expected::default().with_snapshotter("native");
    let spec = ClusterSpec::single_node().with_recipe(GOOD)?;
    let error = spec.with_expected(expected).expect_refusal().await?;
    assert!(
        error.report().contains("health check 'snapshotter' failed"),
        "{error:?}"
    );
    Ok(())
}

/// Starts a node with containerd but without Kubernetes, which could not start with this shim.
async fn start(docker: &Docker, recipe: &str) -> Result<Node> {
    let image = NodeImage::ensure(docker, &Recipe::named(recipe)?).await?;
    let name = format!("health-{}", std::process::id());
    let node = image.start(docker, &name).await?;
    wait::until("containerd to answer", SOON, async || {
        Probe::from_result(node.reach_runtime().await)
    })
    .await?;
    Ok(node)
}

async fn gate(node: &Node, expected: &Expected) -> Result<Report> {
    health::gate_runtime(slice::from_ref(node), expected).await
}

/// Checks that the gate refused, and names the check, the node and a cure.
fn assert_refused(gate: Result<Report>, check: &str, node: &Node) {
    let error = gate.expect_err("the gate must refuse");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    let start = format!("health check '{check}' failed on {node}: ");
    assert!(error.report().starts_with(&start), "{error:?}");
    assert!(
        error.cure_text().is_some_and(|cure| !cure.is_empty()),
        "{error:?}"
    );
}
