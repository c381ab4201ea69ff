//! `kind load` finds the snapshotter of the node's containerd.
//!
//! kind up to v0.26 takes the snapshotter's name from one key of `containerd config dump`.
//! containerd 2.0 writes the dump in configuration version 3, where that key has moved, so
//! every load fails: `failed to detect containerd snapshotter`. kind v0.27 reads both.
//!
//! Regression test for <https://github.com/spiffe/spire/issues/5812> and
//! <https://github.com/kubernetes-sigs/kind/issues/3853>. Obsolete when kind stops asking
//! for the snapshotter's name.

/// kind v0.26 on containerd 2.0.
mod affected {
    use kind_load_snapshotter::{CONTAINERD_2_0, NOT_DETECTED, load};
    use kubenest::{Cluster, ClusterSpec};
    use kubenest_fixtures::cluster;
    use rstest::rstest;

    #[rstest]
    #[tokio::test]
    async fn kind_0_26_finds_no_snapshotter_in_containerd_2_0(
        #[future(awt)]
        #[with(Some(CONTAINERD_2_0))]
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        cluster
            .case(async |case| {
                let (image, output) = load(case, "0.26.0").await?;
                image.remove().await?;
                let last = output.stderr.trim().lines().last().unwrap_or_default();
                case.note_observed(NOT_DETECTED, last);
                case.note_failure_shown();
                assert!(!output.status.success(), "kind v0.26.0 loaded an image");
                assert_eq!(last, format!("ERROR: {NOT_DETECTED}"));
                let kept = case.evidence().await?;
                kept.assert_cause("kind-snapshotter-not-detected");
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }

    #[tokio::test]
    async fn the_pair_is_refused_before_anything_is_started() -> anyhow::Result<()> {
        let spec = ClusterSpec::single_node().with_recipe(CONTAINERD_2_0)?;
        let error = spec.with_kind_loader("0.26.0")?.expect_refusal().await?;
        assert!(error.report().contains("0.26.0"), "{error:?}");
        assert!(error.report().contains("2.0.2"), "{error:?}");
        assert!(
            error.cure_text().unwrap_or_default().contains("0.27"),
            "{error:?}"
        );
        Ok(())
    }
}

/// kind v0.27 on any containerd, and containerd 1.7 with any kind.
mod fixed {
    use kind_load_snapshotter::{CONTAINERD_1_7, CONTAINERD_2_0, load, run_from};
    use kubenest::Cluster;
    use kubenest_fixtures::cluster;
    use rstest::rstest;

    #[rstest]
    #[tokio::test]
    async fn kind_0_27_loads_into_containerd_2_0(
        #[future(awt)]
        #[with(Some(CONTAINERD_2_0))]
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        loads_and_runs(cluster, &["0.27.0"]).await
    }

    #[rstest]
    #[tokio::test]
    async fn both_kinds_load_into_containerd_1_7(
        #[future(awt)]
        #[with(Some(CONTAINERD_1_7))]
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        loads_and_runs(cluster, &["0.26.0", "0.27.0"]).await
    }

    async fn loads_and_runs(cluster: Cluster, releases: &[&str]) -> anyhow::Result<()> {
        cluster
            .case(async |case| {
                for release in releases {
                    let (image, output) = load(case, release).await?;
                    assert!(output.status.success(), "kind {release}: {}", output.stderr);
                    let printed = run_from(case, &image).await?;
                    case.note_observed(image.mark(), printed.as_str());
                    assert_eq!(printed, image.mark());
                    image.remove().await?;
                }
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }
}
