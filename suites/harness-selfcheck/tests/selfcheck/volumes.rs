//! Dynamic volumes on a real cluster: a claim is enough, on whatever node its pods run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{RECIPE, docker};
use kubenest::{
    Case, Cluster, ClusterSpec,
    k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim},
    kube::{Api, ResourceExt},
    node::Node,
};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);
/// Where nodes have the folders of volumes.
const FOLDERS: &str = "/tmp/hostpath_pv";

#[tokio::test]
async fn a_claim_is_bound_and_its_data_is_on_every_node() -> Result<()> {
    let cluster = ClusterSpec::with_workers(1)
        .with_recipe(RECIPE)?
        .boot()
        .await?;
    let namespace = cluster
        .case(async |case| {
            check_claim(case).await?;
            Ok(case.namespace().to_owned())
        })
        .await?;
    // The claim ends with the case, and with it the volume and the data.
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    kubenest::objects::gone(namespaces, &namespace, DEADLINE).await?;
    let volumes: Api<PersistentVolume> = Api::all(cluster.client());
    for volume in volumes.list(&Default::default()).await?.items {
        let name = volume.name_any();
        kubenest::objects::gone(volumes.clone(), &name, DEADLINE).await?;
    }
    for node in cluster.nodes() {
        assert_eq!(folders(node).await?, "");
    }
    check_removal(cluster).await
}

async fn check_claim(case: &Case<'_>) -> Result<()> {
    case.apply(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }))
    .await?;
    case.wait_for_field(
        "PersistentVolumeClaim",
        "data",
        ".status.phase",
        "Bound",
        DEADLINE,
    )
    .await?;
    let claim: PersistentVolumeClaim = case.get("data").await?;
    let class = claim.spec.and_then(|spec| spec.storage_class_name);
    assert_eq!(class.as_deref(), Some("standard"));
    let nodes = case.cluster().nodes();
    let [first, worker] = nodes else {
        anyhow::bail!("there are {} nodes", nodes.len());
    };
    run(case, first, "writer", "echo written > /data/file").await?;
    run(
        case,
        worker,
        "reader",
        "grep written /data/file && echo more >> /data/file",
    )
    .await?;
    for node in nodes {
        let folder = folders(node).await?;
        let file = format!("{FOLDERS}/{}/file", folder.trim());
        let text = node.read_file(&file).await?;
        assert_eq!(String::from_utf8_lossy(&text), "written\nmore\n", "{node}");
    }
    Ok(())
}

/// Runs a script in a pod on this node, as a user without rights.
async fn run(case: &Case<'_>, node: &Node, name: &str, script: &str) -> Result<()> {
    let version = &case.cluster().versions().kubernetes;
    let pod: Value = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node.name(),
            "restartPolicy": "Never",
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
            "containers": [{
                "name": name,
                "image": format!("registry.k8s.io/kube-proxy:v{version}"),
                "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sh", "-c", script],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    });
    case.apply(pod).await?;
    case.wait_for_field("Pod", name, ".status.phase", "Succeeded", DEADLINE)
        .await
        .context("run a pod with the volume")
}

async fn folders(node: &Node) -> Result<String> {
    Ok(node.exec_ok(&["ls", FOLDERS]).await?.text())
}

/// The volume that the nodes share goes with them.
async fn check_removal(cluster: Cluster) -> Result<()> {
    let (engine, name) = (cluster.docker().clone(), cluster.name().to_owned());
    let filter = format!("label=dev.kubenest.cluster={name}");
    let list = ["volume", "ls", "--quiet", "--filter", &filter];
    let volumes = docker(&engine, &list).await?;
    ensure!(volumes.lines().count() == 1, "{volumes}");
    cluster.down().await?;
    assert_eq!(docker(&engine, &list).await?, "");
    Ok(())
}
