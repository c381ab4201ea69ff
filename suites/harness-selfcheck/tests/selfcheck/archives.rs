//! Loaded images are complete or refused, and a loaded image that disappears is noticed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{
    RECIPE,
    archives::{Fault, ctr, layout, state},
};
use kubenest::{
    Cluster, ClusterSpec, Error, ErrorKind,
    images::{ImageSource, Load},
    node::Node,
};

const APP: &str = "example/app:dev";
const OPERATOR: &str = "example/operator:v2";

#[tokio::test]
async fn an_image_is_complete_or_refused_and_missed_when_it_disappears() -> Result<()> {
    let cluster = ClusterSpec::single_node()
        .with_recipe(RECIPE)?
        .boot()
        .await?;
    let folder = tempfile::tempdir()?;
    check_missing_parts_are_refused(&cluster, folder.path()).await?;
    check_layers_are_reordered(&cluster, folder.path()).await?;
    check_disappeared_image_is_missed(&cluster, folder.path()).await?;
    Ok(cluster.down().await?)
}

/// <https://github.com/moby/moby/issues/49473>
async fn check_missing_parts_are_refused(cluster: &Cluster, folder: &Path) -> Result<()> {
    let node = cluster.control_plane();
    let before = state(node).await?;
    for (fault, parts) in [(Fault::Absent, 3), (Fault::LowestAbsent, 1)] {
        let file = folder.join("absent.tar");
        layout(&file, OPERATOR, &["lower", "upper"], fault).await?;
        let error = load(cluster, &file).await.err().context("it was loaded")?;
        let report = error.report();
        assert_eq!(error.kind(), ErrorKind::Input, "{report}");
        assert_eq!(report.matches("sha256:").count(), parts, "{report}");
        for words in [
            OPERATOR,
            "the engine left out",
            "saving it again gives the same",
        ] {
            assert!(report.contains(words), "{report}");
        }
        assert_eq!(state(node).await?, before, "something of it is in the node");
    }
    Ok(())
}

/// <https://github.com/kubernetes-sigs/kind/issues/3490>
async fn check_layers_are_reordered(cluster: &Cluster, folder: &Path) -> Result<()> {
    let node = cluster.control_plane();
    let file = folder.join("order.tar");
    layout(&file, APP, &["lower", "middle", "upper"], Fault::Order).await?;
    let loaded = load(cluster, &file).await?;
    assert_eq!(loaded.names, [format!("docker.io/{APP}")]);
    let mount = "/run/looked-at";
    node.exec_ok(&["mkdir", mount]).await?;
    let name = &loaded.names[0];
    ctr(node, &["images", "mount", name, mount]).await?;
    let list = node.exec_ok(&["ls", &format!("{mount}/etc")]).await?.text();
    ctr(node, &["images", "unmount", "--rm", mount]).await?;
    assert_eq!(
        list.split_whitespace().collect::<Vec<_>>(),
        ["lower", "middle", "upper"]
    );

    // The node has the lower layer now, so another archive may lack it.
    let file = folder.join("one-layer.tar");
    layout(&file, OPERATOR, &["lower", "upper"], Fault::LowestAbsent).await?;
    let loaded = load(cluster, &file).await?;
    assert_eq!(loaded.names, [format!("docker.io/{OPERATOR}")]);
    Ok(())
}

async fn check_disappeared_image_is_missed(cluster: &Cluster, folder: &Path) -> Result<()> {
    let node = cluster.control_plane();
    let file = folder.join("missed.tar");
    layout(&file, "example/missed:1", &["missed"], Fault::None).await?;
    let name = load(cluster, &file).await?.names.remove(0);
    remove(node, &name).await?;
    let result = cluster.case(async |_| Ok(())).await;
    assert_missed(result, &name)?;

    // A body that ends before the guard's first look.
    cluster.images().release(&name).await?;
    let result = cluster.case(async |case| {
        load(case.cluster(), &file).await?;
        remove(case.node(), &name).await
    });
    assert_missed(result.await, &name)?;

    // The same for an image that is protected by name only.
    cluster.images().release(&name).await?;
    load(cluster, &file).await?;
    cluster.images().release(&name).await?;
    cluster.images().protect(&name).await?;
    remove(node, &name).await?;
    assert_missed(cluster.case(async |_| Ok(())).await, &name)?;
    cluster.images().release(&name).await?;
    cluster.case(async |_| Ok(())).await
}

fn assert_missed(result: Result<()>, name: &str) -> Result<()> {
    let error = result.err().context("nothing was missed")?;
    let error = error.downcast::<Error>()?;
    ensure!(error.kind() == ErrorKind::Refused, "{error:?}");
    let report = error.report();
    ensure!(
        report.contains(&format!("protected image '{name}' is gone")),
        "{report}"
    );
    Ok(())
}

async fn load(cluster: &Cluster, file: &Path) -> kubenest::Result<Load> {
    cluster.images().load(ImageSource::archive(file)).await
}

async fn remove(node: &Node, name: &str) -> Result<()> {
    Ok(node.cri().await?.remove_image(name).await?)
}
