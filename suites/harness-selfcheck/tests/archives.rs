//! Images that are whole or refused, and missed from their load on.

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
use kubenest_node::node::containerd::Containerd;

const APP: &str = "example/app:dev";
const OPERATOR: &str = "example/operator:v2";

#[tokio::test]
async fn an_image_is_whole_or_refused_and_missed_from_its_load_on() -> Result<()> {
    let cluster = ClusterSpec::single_node()
        .with_recipe(RECIPE)?
        .boot()
        .await?;
    let folder = tempfile::tempdir()?;
    what_an_engine_left_out_is_refused(&cluster, folder.path()).await?;
    layers_out_of_order_are_put_in_order(&cluster, folder.path()).await?;
    an_image_that_goes_before_the_first_look_is_missed(&cluster, folder.path()).await?;
    Ok(cluster.down().await?)
}

/// <https://github.com/moby/moby/issues/49473>
async fn what_an_engine_left_out_is_refused(cluster: &Cluster, folder: &Path) -> Result<()> {
    let node = cluster.control_plane();
    let before = state(node).await?;
    for (fault, parts) in [(Fault::Absent, 3), (Fault::LowestAbsent, 1)] {
        let file = folder.join("absent.tar");
        layout(&file, OPERATOR, &["lower", "upper"], fault).await?;
        let error = load(cluster, &file).await.err().context("it was loaded")?;
        let told = error.report();
        assert_eq!(error.kind(), ErrorKind::Input, "{told}");
        assert_eq!(told.matches("sha256:").count(), parts, "{told}");
        for words in [
            OPERATOR,
            "the engine left out",
            "saving it again gives the same",
        ] {
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(state(node).await?, before, "something of it is in the node");
    }
    Ok(())
}

/// <https://github.com/kubernetes-sigs/kind/issues/3490>
async fn layers_out_of_order_are_put_in_order(cluster: &Cluster, folder: &Path) -> Result<()> {
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

    // The node has the lower layer now: another image may lack it.
    let file = folder.join("one-layer.tar");
    layout(&file, OPERATOR, &["lower", "upper"], Fault::LowestAbsent).await?;
    let loaded = load(cluster, &file).await?;
    assert_eq!(loaded.names, [format!("docker.io/{OPERATOR}")]);
    Ok(())
}

async fn an_image_that_goes_before_the_first_look_is_missed(
    cluster: &Cluster,
    folder: &Path,
) -> Result<()> {
    let node = cluster.control_plane();
    let file = folder.join("missed.tar");
    layout(&file, "example/missed:1", &["missed"], Fault::None).await?;
    let name = load(cluster, &file).await?.names.remove(0);
    remove(node, &name).await?;
    let ended = cluster.case(async |_| Ok(())).await;
    is_missed(ended, &name)?;

    // A body that is over before the first look.
    cluster.images().release(&name).await?;
    let ended = cluster.case(async |case| {
        load(case.cluster(), &file).await?;
        remove(case.node(), &name).await
    });
    is_missed(ended.await, &name)?;

    // What is protected by name alone, too.
    cluster.images().release(&name).await?;
    load(cluster, &file).await?;
    cluster.images().release(&name).await?;
    cluster.images().protect(&name).await?;
    remove(node, &name).await?;
    is_missed(cluster.case(async |_| Ok(())).await, &name)?;
    cluster.images().release(&name).await?;
    cluster.case(async |_| Ok(())).await
}

fn is_missed(ended: Result<()>, name: &str) -> Result<()> {
    let error = ended.err().context("nothing was missed")?;
    let error = error.downcast::<Error>()?;
    ensure!(error.kind() == ErrorKind::Refused, "{error:?}");
    let told = error.report();
    ensure!(
        told.contains(&format!("protected image '{name}' is gone")),
        "{told}"
    );
    Ok(())
}

async fn load(cluster: &Cluster, file: &Path) -> kubenest::Result<Load> {
    cluster.images().load(ImageSource::archive(file)).await
}

async fn remove(node: &Node, name: &str) -> Result<()> {
    Ok(Containerd::connect(node)
        .await?
        .cri()
        .remove_image(name)
        .await?)
}
