//! A containerd daemon can read its shim's answer.
//!
//! A shim reports its address to the daemon that starts it: as plain text up to containerd 1.7, as
//! JSON from 2.0, as protobuf from 2.3. A daemon that gets a newer form than its own can start no
//! pod any more, while running pods go on. This happens when another containerd's shim comes first
//! in the daemon's PATH, or when packages are upgraded and the daemon is not restarted.
//!
//! Regression test for <https://github.com/kubernetes/kubernetes/issues/130590> (mended by
//! <https://github.com/containerd/containerd/pull/11489>),
//! <https://github.com/containerd/containerd/issues/13763> and
//! <https://github.com/containerd/containerd/issues/10984>. Obsolete when no daemon older than
//! the newest form of answer is in use.

/// Daemons with newer shims. No control plane could start on such a node, so the node boots with
/// its own shim first; the time to the failure in the report includes that.
mod affected {
    use kubenest::{Case, ClusterSpec, ErrorKind};
    use shim_protocol_version::{
        CONTAINERD_1_6, CONTAINERD_1_7, CONTAINERD_2_0, SKEWED, assert_sandbox_failure, boot,
        plant, plant_disguised, remove_planted_shim, set_runtime_path, spec_with_another_shim,
        start_pod, upgrade, wait_until_healthy,
    };

    const JSON_UNDER_1_6: &str = "Failed to create pod sandbox: rpc error: code = Unknown desc = \
        failed to create containerd task: failed to start shim: start failed: dial unix \
        \0{\"version\":3,\"address\":\"unix:///run/containerd/s/…\",\"protocol\":\"ttrpc\"}: \
        connect: invalid argument: unknown";
    const PROTOBUF_UNDER_1_6: &str = "Failed to create pod sandbox: rpc error: code = Unknown \
        desc = failed to create containerd task: failed to start shim: start failed: dial unix \
        \0\x08\x03\x12Yunix:///run/containerd/s/…\x1a\x05ttrpc: connect: connection refused: \
        unknown";
    const JSON_UNDER_1_7: &str = "Failed to create pod sandbox: rpc error: code = Unimplemented \
        desc = failed to create containerd task: failed to start shim: start failed: \
        unsupported shim version (3): not implemented";
    const PROTOBUF_UNDER_1_7: &str = "Failed to create pod sandbox: rpc error: code = Unknown \
        desc = failed to create containerd task: failed to start shim: start failed: failed to \
        create TTRPC connection: dial unix \0\x08\x03\x12Yunix:///run/containerd/s/…\x1a\x05ttrpc: \
        connect: connection refused: unknown";
    const PROTOBUF_UNDER_2_0: &str = "Failed to create pod sandbox: rpc error: code = Unknown \
        desc = failed to start sandbox \"…\": failed to create containerd task: failed to start \
        shim: start failed: failed to create TTRPC connection: unsupported protocol: \x08\x03\x12Yunix";

    #[tokio::test]
    async fn containerd_1_6_reads_neither_json_nor_protobuf() -> anyhow::Result<()> {
        let cluster = boot(CONTAINERD_1_6).await?;
        cluster
            .case(async |case| {
                plant(case.node(), "2.3.4").await?;
                assert_no_pod_starts(case, PROTOBUF_UNDER_1_6, "shim").await?;
                plant(case.node(), "2.0.2").await?;
                assert_no_pod_starts(case, JSON_UNDER_1_6, "shim").await?;
                // Upstream's workaround; this daemon ignores the setting.
                set_runtime_path(case.node()).await?;
                assert_no_pod_starts(case, JSON_UNDER_1_6, "shim").await
            })
            .await?;
        Ok(cluster.down().await?)
    }

    #[tokio::test]
    async fn containerd_1_7_reads_neither_json_nor_protobuf() -> anyhow::Result<()> {
        let cluster = boot(CONTAINERD_1_7).await?;
        cluster
            .case(async |case| {
                plant(case.node(), "2.3.4").await?;
                assert_no_pod_starts(case, PROTOBUF_UNDER_1_7, "shim").await?;
                plant_disguised(case.node(), "2.0.2").await?;
                assert_no_pod_starts(case, JSON_UNDER_1_7, "shim").await?;
                plant(case.node(), "2.0.2").await?;
                assert_no_pod_starts(case, JSON_UNDER_1_7, "shim").await?;
                case.evidence()
                    .await?
                    .assert_cause("shim-newer-than-daemon");
                // The same without a foreign shim: an upgrade without a restart of the daemon.
                remove_planted_shim(case.node()).await?;
                wait_until_healthy(case).await?;
                start_pod(case, "before-the-upgrade").await?;
                upgrade(case.node(), "2.0.2").await?;
                assert_no_pod_starts(case, JSON_UNDER_1_7, "daemon").await?;
                case.evidence()
                    .await?
                    .assert_cause("containerd-not-restarted");
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }

    #[tokio::test]
    async fn containerd_2_0_reads_no_protobuf() -> anyhow::Result<()> {
        let cluster = boot(CONTAINERD_2_0).await?;
        cluster
            .case(async |case| {
                plant(case.node(), "2.3.4").await?;
                assert_no_pod_starts(case, PROTOBUF_UNDER_2_0, "shim").await
            })
            .await?;
        Ok(cluster.down().await?)
    }

    #[tokio::test]
    async fn a_skewed_image_is_refused_before_anything_is_started() -> anyhow::Result<()> {
        let spec = ClusterSpec::single_node().with_recipe(SKEWED)?;
        let report = spec.expect_refusal().await?.report();
        let cause = "containerd 1.7.24 cannot start containers with the shim of containerd 2.0.2";
        assert!(report.contains(cause), "{report}");
        assert!(
            report.contains("unsupported shim version (3): not implemented"),
            "{report}"
        );
        assert!(
            report.contains("cure: put the shim of containerd 1.7 in the node"),
            "{report}"
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_node_that_finds_another_shim_is_refused_during_its_boot() -> anyhow::Result<()> {
        let spec = spec_with_another_shim(CONTAINERD_1_7, "2.0.2").await?;
        let report = spec.expect_refusal().await?.report();
        assert!(report.contains("health check 'shim' failed"), "{report}");
        let cause = "shim 2.0.2 at /usr/local/sbin/containerd-shim-runc-v2 answers in JSON (2.0 to \
                     2.2), daemon 1.7.24 reads plain text (1.7 and older): no pod can start";
        assert!(report.contains(cause), "{report}");
        assert!(
            report.contains("install the shim of containerd 1.7.24"),
            "{report}"
        );
        Ok(())
    }

    /// Checks that a pod fails in the documented way, and that the gate refuses by this check.
    async fn assert_no_pod_starts(
        case: &Case<'_>,
        expected: &str,
        check: &str,
    ) -> anyhow::Result<()> {
        assert_sandbox_failure(case, "newcomer", expected).await?;
        case.note_failure_shown();
        case.note_observed(expected, expected);
        let error = match case.cluster().health().await {
            Ok(report) => panic!("the gate let the node pass:\n{report}"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        let refusal = format!("health check '{check}' failed");
        assert!(error.report().starts_with(&refusal), "{error:?}");
        Ok(())
    }
}

/// The same daemons with shims that they read.
mod fixed {
    use shim_protocol_version::{
        CONTAINERD_1_6, CONTAINERD_1_7, CONTAINERD_2_0, OWN_SHIM, boot, boot_with, healthy_shim,
        plant, restart, set_runtime_path, start_pod, upgrade,
    };

    #[tokio::test]
    async fn containerd_1_6_starts_the_shim_that_is_its_runtime_type() -> anyhow::Result<()> {
        // A runtime type that is a path takes no runc options.
        let runtimes = format!(
            "[plugins.'io.containerd.grpc.v1.cri'.containerd]\n\
             default_runtime_name = 'absolute'\n\
             runtimes.runc.runtime_type = '{OWN_SHIM}'\n\
             runtimes.absolute.runtime_type = '{OWN_SHIM}'"
        );
        let cluster = boot_with(CONTAINERD_1_6, &runtimes).await?;
        cluster
            .case(async |case| {
                plant(case.node(), "2.0.2").await?;
                start_pod(case, "newcomer").await?;
                let shim = healthy_shim(case).await?;
                case.note_observed(OWN_SHIM, shim.as_str());
                assert!(shim.contains(OWN_SHIM), "{shim}");
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }

    #[tokio::test]
    async fn containerd_1_7_starts_the_shim_at_its_runtime_path_and_after_a_restart_a_newer_one()
    -> anyhow::Result<()> {
        let cluster = boot(CONTAINERD_1_7).await?;
        cluster
            .case(async |case| {
                plant(case.node(), "2.0.2").await?;
                set_runtime_path(case.node()).await?;
                start_pod(case, "newcomer").await?;
                let shim = healthy_shim(case).await?;
                assert!(shim.contains(OWN_SHIM), "{shim}");

                upgrade(case.node(), "2.0.2").await?;
                restart(case.node()).await?;
                start_pod(case, "after-the-upgrade").await?;
                let shim = healthy_shim(case).await?;
                case.note_observed("daemon 2.0.2", shim.as_str());
                assert!(shim.contains("daemon 2.0.2"), "{shim}");
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }

    #[tokio::test]
    async fn containerd_2_0_reads_the_answer_of_an_older_shim() -> anyhow::Result<()> {
        let cluster = boot(CONTAINERD_2_0).await?;
        cluster
            .case(async |case| {
                plant(case.node(), "1.7.24").await?;
                start_pod(case, "newcomer").await?;
                let shim = healthy_shim(case).await?;
                case.note_observed("shim 1.7.24", shim.as_str());
                assert!(shim.contains("shim 1.7.24"), "{shim}");
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }
}
