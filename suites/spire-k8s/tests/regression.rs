//! SPIRE's images reach a node, and a workload gets its identity.
//!
//! SPIRE's own Kubernetes test loads the images of server and agent with `kind load docker-image`.
//! kind up to v0.26 looks for the snapshotter's name where containerd 2.0 no longer writes it, so
//! the test ended before SPIRE had started: `failed to detect containerd snapshotter`. kind v0.27
//! and kubenest's own loader put them there, and SPIRE works, also after restarts.
//!
//! Regression test for <https://github.com/spiffe/spire/issues/5812>. Obsolete when kind stops
//! asking for the snapshotter's name.

/// kind v0.26 on containerd 2.0.
mod affected {
    use kubenest::Cluster;
    use kubenest_fixtures::{cluster, kind::Kind};
    use kubenest_health::health::{self, Expected};
    use rstest::rstest;
    use spire_k8s::{CONTAINERD_2_0, NOT_DETECTED, deployment, images};

    #[rstest]
    #[tokio::test]
    async fn kind_0_26_loads_neither_image_of_spire(
        #[future(awt)]
        #[with(Some(CONTAINERD_2_0))]
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        images::ensure(cluster.docker()).await?;
        cluster
            .case(async |case| {
                // The gate looks for what this kind looks for, and says so first.
                let expected = Expected::default().with_loader("0.26.0".parse()?);
                let gate = health::gate(case.cluster().nodes(), &case.client(), &expected).await;
                let refusal = gate.expect_err("the gate must refuse").report();
                assert!(refusal.contains(NOT_DETECTED), "{refusal}");

                let kind = Kind::release("0.26.0").await?;
                for image in images::names() {
                    let output = kind.load(case.cluster(), &image).await?;
                    let last = output.stderr.trim().lines().last().unwrap_or_default();
                    case.note_observed(NOT_DETECTED, last);
                    case.note_failure_shown();
                    assert!(!output.status.success(), "kind v0.26.0 loaded '{image}'");
                    assert_eq!(last, format!("ERROR: {NOT_DETECTED}"));
                }
                deployment::create_server(case).await?;
                let reason = deployment::why_server_waits(case).await?;
                assert_eq!(reason, "ErrImageNeverPull");
                let kept = case.evidence().await?;
                kept.assert_cause("kind-snapshotter-not-detected");
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }
}

/// kind v0.27, and kubenest's own loader.
mod fixed {
    use kubenest::{Case, Cluster};
    use kubenest_fixtures::{cluster, kind::Kind};
    use rstest::rstest;
    use spire_k8s::{
        CONTAINERD_2_0,
        deployment::{self, WORKLOAD_ID},
        images,
    };

    #[rstest]
    #[tokio::test]
    async fn a_workload_of_images_loaded_by_kind_0_27_gets_its_svid(
        #[future(awt)]
        #[with(Some(CONTAINERD_2_0))]
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        let by_kind = async |case: &Case<'_>| {
            let kind = Kind::release("0.27.0").await?;
            for image in images::names() {
                let output = kind.load(case.cluster(), &image).await?;
                anyhow::ensure!(output.status.success(), "{}", output.stderr);
            }
            Ok(())
        };
        a_workload_gets_its_svid(cluster, by_kind).await
    }

    #[rstest]
    #[tokio::test]
    async fn a_workload_of_images_loaded_by_kubenest_gets_its_svid(
        #[future(awt)]
        #[with(Some(CONTAINERD_2_0))]
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        let by_kubenest = async |case: &Case<'_>| {
            for image in images::names() {
                case.cluster().images().load(image.as_str()).await?;
            }
            Ok(())
        };
        a_workload_gets_its_svid(cluster, by_kubenest).await
    }

    async fn a_workload_gets_its_svid(
        cluster: Cluster,
        load: impl AsyncFn(&Case<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        images::ensure(cluster.docker()).await?;
        cluster
            .case(async |case| {
                load(case).await?;
                deployment::deploy(case).await?;
                let first = deployment::fetch_svid(case).await?;
                case.note_observed(WORKLOAD_ID, first.id.as_str());
                assert_eq!(first.id, WORKLOAD_ID);
                assert_eq!(first.trust_domain(), Some("example.org"));

                // The agent outlives containerd, and still has the same certificate.
                let restart = ["systemctl", "restart", "containerd"];
                case.node().exec_ok(&restart).await?;
                assert_eq!(deployment::fetch_svid(case).await?, first);

                // The next agent attests itself anew, and gets a certificate of the same name.
                deployment::replace_agent(case).await?;
                let second = deployment::fetch_svid(case).await?;
                assert_eq!(second.id, WORKLOAD_ID);
                assert_ne!(second.serial, first.serial);
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }
}
