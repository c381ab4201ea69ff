//! A container mounts an image as a volume.
//!
//! cri-api v0.31 added an image field to mounts. A client of an older release silently drops that
//! field, and a runtime that does not support it ignores it: either way the mount has neither an
//! image nor a host path. containerd then fails with `failed to mkdir ""`, CRI-O with
//! `mount.HostPath is empty`. containerd mounts images since 2.1, CRI-O since 1.31.
//!
//! Regression test for <https://github.com/cri-o/cri-o/issues/8404> and
//! <https://github.com/containerd/containerd/pull/10579>. Obsolete when no supported client
//! and no supported runtime is older than that.

const CONTAINERD_1_7: &str = "v1.32.1-containerd-1.7.24";
const CONTAINERD_2_0: &str = "v1.32.1-containerd-2.0.2";
const CONTAINERD_2_1: &str = "v1.32.1-containerd-2.1.9";
const CRI_O: &str = "v1.34.3-cri-o-1.34.0";

/// An old client on any runtime, or an old runtime under any client.
mod affected {
    use std::process;

    use image_volume_mount::{
        NEW_CLIENT, NO_HOST_PATH, OLD_CLIENT, PAUSE, create_error, create_pod, load, mount, spec,
        stop_kubelet, wait_until_active, without_id,
    };
    use kubenest::{
        Case, Cluster, ClusterSpec,
        health::Expected,
        recipe::{NodeImage, Recipe},
    };
    use kubenest_fixtures::cluster;
    use kubenest_fixtures::cri_client::CriClient;
    use kubenest_health::health;
    use rstest::rstest;

    use super::{CONTAINERD_1_7, CONTAINERD_2_0, CONTAINERD_2_1, CRI_O};

    #[rstest]
    #[tokio::test]
    async fn an_old_client_asks_containerd_2_1_for_an_empty_host_path(
        #[future(awt)]
        #[with(Some(CONTAINERD_2_1))]
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        cluster
            .case(async |case| assert_no_image_is_mounted(case, OLD_CLIENT).await)
            .await?;
        Ok(cluster.down().await?)
    }

    #[rstest]
    #[tokio::test]
    async fn containerd_1_7_overlooks_the_image(
        #[future(awt)]
        #[with(Some(CONTAINERD_1_7))]
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        cluster
            .case(async |case| assert_no_image_is_mounted(case, NEW_CLIENT).await)
            .await?;
        Ok(cluster.down().await?)
    }

    /// containerd 2.0 knows the field already, but does nothing with it.
    #[tokio::test]
    async fn containerd_2_0_overlooks_the_image() -> anyhow::Result<()> {
        let cluster = spec(CONTAINERD_2_0)?.boot().await?;
        cluster
            .case(async |case| {
                let image = load(case, "overlooked").await?;
                create_pod(case, "reader", &image).await?;
                let message = create_error(case, "reader").await?;
                case.note_failure_shown();
                image.remove().await?;
                assert_eq!(without_id(&message), NO_HOST_PATH);

                // The gate reports the same without a pod, if image volumes are expected.
                let expected = Expected::default().with_image_volumes();
                let nodes = case.cluster().nodes();
                let gate = health::gate(nodes, &case.client(), &expected).await;
                let refusal = gate.expect_err("the gate must refuse").report();
                let check = "health check 'image-volume' failed";
                assert!(refusal.starts_with(check), "{refusal}");
                assert!(refusal.contains("failed to mkdir \"\""), "{refusal}");

                assert_no_image_is_mounted(case, NEW_CLIENT).await?;
                let kept = case.evidence().await?;
                kept.assert_cause("image-volume-empty-host-path");
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }

    async fn assert_no_image_is_mounted(case: &Case<'_>, client: &str) -> anyhow::Result<()> {
        let image = load(case, &format!("asked for by {client}")).await?;
        stop_kubelet(case.node()).await?;
        let client = CriClient::install(client, case.node()).await?;
        let message = mount(&client, image.reference()).await?;
        case.note_failure_shown();
        image.remove().await?;
        let expected = format!("rpc error: code = Unknown desc = {NO_HOST_PATH}");
        let message = without_id(&message.expect_err("the container must not be made"));
        case.note_observed(expected.as_str(), message.as_str());
        assert_eq!(message, expected);
        Ok(())
    }

    #[tokio::test]
    async fn an_old_client_asks_cri_o_for_an_empty_host_path() -> anyhow::Result<()> {
        let (docker, name) = (
            kubenest::engine::find().await?,
            format!("cri-o-{}", process::id()),
        );
        let image = NodeImage::ensure(&docker, &Recipe::named(CRI_O)?).await?;
        let message = async {
            let node = image.start(&docker, &name).await?;
            wait_until_active(&node, "crio").await?;
            let client = CriClient::install(OLD_CLIENT, &node).await?;
            mount(&client, PAUSE).await
        };
        let message = message.await;
        docker.remove_container(&name).await?;
        let message = message?.expect_err("the container must not be made");
        assert!(message.ends_with("mount.HostPath is empty"), "{message}");
        Ok(())
    }

    #[tokio::test]
    async fn an_old_containerd_is_refused_before_anything_is_started() -> anyhow::Result<()> {
        let spec = ClusterSpec::single_node().with_recipe(CONTAINERD_2_0)?;
        let error = spec.with_image_volumes().expect_refusal().await?;
        assert!(error.report().contains("containerd 2.0.2"), "{error:?}");
        Ok(())
    }

    #[tokio::test]
    async fn an_old_client_is_refused_before_anything_is_started() -> anyhow::Result<()> {
        let spec = ClusterSpec::single_node().with_recipe(CONTAINERD_2_1)?;
        let spec = spec.with_image_volumes().with_cri_client(OLD_CLIENT)?;
        let error = spec.expect_refusal().await?;
        assert!(error.report().contains("cri-api 0.30.0"), "{error:?}");
        Ok(())
    }
}

/// A client and a runtime that both know images in mounts.
mod fixed {
    use image_volume_mount::{
        NEW_CLIENT, create_pod, lifecycle, load, load_unpinned, mount, read_in_pod, spec,
        stop_kubelet,
    };
    use kubenest_fixtures::cri_client::CriClient;

    use super::{CONTAINERD_2_1, CRI_O};

    #[tokio::test]
    async fn containerd_2_1_mounts_the_image_for_client_and_kubelet() -> anyhow::Result<()> {
        // The gate tries an image volume, and passes this node.
        let cluster = spec(CONTAINERD_2_1)?.with_image_volumes();
        let cluster = cluster.with_cri_client(NEW_CLIENT)?.boot().await?;
        cluster
            .case(async |case| {
                let image = load(case, "mounted").await?;
                create_pod(case, "reader", &image).await?;
                let read = read_in_pod(case, "reader").await?;
                assert_eq!(read, image.mark());

                stop_kubelet(case.node()).await?;
                let client = CriClient::install(NEW_CLIENT, case.node()).await?;
                let mounted = mount(&client, image.reference()).await?;
                let mounted = mounted.expect("the image must be mounted");
                case.note_observed(image.mark(), mounted.content.as_str());
                assert_eq!(mounted.content, image.mark());
                let of = &mounted.mount["image"]["image"];
                assert_eq!(of, image.reference(), "{}", mounted.mount);
                image.remove().await?;
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }

    /// crictl does what CRI-O's own test of image volumes has it do.
    #[tokio::test]
    async fn cri_o_mounts_the_image_for_crictl_and_kubelet() -> anyhow::Result<()> {
        let cluster = spec(CRI_O)?.with_image_volumes().boot().await?;
        cluster
            .case(async |case| {
                let image = load_unpinned(case, "mounted by the kubelet").await?;
                create_pod(case, "reader", &image).await?;
                let read = read_in_pod(case, "reader").await?;
                assert_eq!(read, image.mark());

                let volume = load_unpinned(case, "mounted by crictl").await?;
                stop_kubelet(case.node()).await?;
                let seen = lifecycle(case.node(), image.reference(), volume.reference()).await?;
                case.note_observed(volume.mark(), seen.content.as_str());
                assert_eq!(seen.content, volume.mark());
                let refusal = seen.refusal;
                assert!(refusal.contains("the image is in use by"), "{refusal}");
                let (of_image, of_mount) = seen.ids;
                assert_eq!(of_image, of_mount);
                image.remove().await?;
                volume.remove().await?;
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }
}
