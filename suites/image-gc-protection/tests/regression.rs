//! Images loaded into a node survive the kubelet's image garbage collection.
//!
//! A node in a container sees the disk of the machine it runs on. When that disk is full, its
//! kubelet deletes images that no container uses. Loaded images are in no registry, so the next pod
//! that needs one gets ErrImageNeverPull or ErrImagePull. There are two paths: the thresholds of
//! image garbage collection, and eviction at a full disk, which ignores the thresholds. Pins
//! protect images on both paths if runtime and kubelet respect them.
//!
//! Regression test for <https://github.com/kubernetes-sigs/cluster-api/issues/11856> and
//! <https://github.com/kubernetes-sigs/cluster-api/pull/11904>. Obsolete when kubelets no longer
//! delete images that cannot be pulled again.

/// Images that nothing protects, or a pin that containerd ignores.
mod affected {
    use std::time::Duration;

    use image_gc_protection::{
        CONTAINERD_1_6, CONTAINERD_2_0, EVICTING, FULL, OFF, PINNED, SOON, critical_pod, fill,
        find, load, row, spec, wait_for_words, wait_until_collected,
    };
    use kubenest::{
        images::Pin,
        k8s_openapi::api::core::v1::Pod,
        objects,
        wait::{self, Probe},
    };

    /// The trap: a high threshold of 100 turns off only one of the two paths.
    #[tokio::test]
    async fn eviction_deletes_an_unpinned_image_although_the_threshold_is_100() -> anyhow::Result<()>
    {
        let spec = spec().with_image_collection();
        let cluster = spec.with_kubeadm_patch(EVICTING)?.boot().await?;
        cluster
            .case(async |case| {
                let node = case.node();
                wait_for_words(node, OFF, 1).await?;
                let (lost, pin) = load(case, "unprotected").await?;
                assert_eq!(pin, Pin::Held);
                case.cluster().images().release(lost.reference()).await?;
                let id = find(node, lost.reference()).await?.expect("must be there").id;

                fill(node, FULL).await?;
                wait_until_collected(node, lost.reference(), SOON).await?;
                case.note_failure_shown();
                let removal = format!("\"Removing image to free bytes\" imageID=\"{id}\"");
                let journal = wait_for_words(node, &removal, 1).await?;
                for words in [
                    "\"Eviction manager: attempting to reclaim\" resourceName=\"ephemeral-storage\"",
                    "\"Attempting to delete unused images\"",
                ] {
                    assert!(journal.contains(words), "no {words} in: {journal}");
                }

                let mut pod = critical_pod(node, &lost, "needs-it");
                let containers = &mut pod.spec.as_mut().expect("must have a spec").containers;
                let mut pulls = containers[0].clone();
                pulls.name = "pulls".to_owned();
                pulls.image_pull_policy = Some("IfNotPresent".to_owned());
                containers.push(pulls);
                case.create(&pod).await?;
                let reasons = "ErrImagePull ErrImageNeverPull";
                let what = format!("its containers to wait: {reasons}");
                let seen = objects::until(case.api(), "needs-it", &what, SOON, |pod| {
                    let seen = pod.map(waiting_reasons).unwrap_or_default();
                    match seen == reasons {
                        true => Probe::Ready(seen),
                        false => Probe::Pending(seen),
                    }
                });
                let seen = seen.await?;
                case.note_observed(reasons, seen);
                case.evidence().await?.assert_cause("image-collected");
                Ok(lost.remove().await?)
            })
            .await?;
        Ok(cluster.down().await?)
    }

    /// The reasons why containers wait, sorted by container name.
    fn waiting_reasons(pod: &Pod) -> String {
        let status = pod.status.clone().unwrap_or_default();
        let mut statuses = status.container_statuses.unwrap_or_default();
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
        let reasons = statuses
            .into_iter()
            .filter_map(|status| status.state?.waiting?.reason);
        reasons.collect::<Vec<_>>().join(" ")
    }

    /// This containerd stores the pin's label but does not report it to the kubelet. kubenest's
    /// guard fails the running test and says who removed the image.
    #[tokio::test]
    async fn containerd_1_6_20_deletes_a_pinned_image_and_the_guard_reports_it()
    -> anyhow::Result<()> {
        let spec = spec().with_recipe(CONTAINERD_1_6)?.with_image_collection();
        let cluster = spec.with_kubeadm_patch(EVICTING)?.boot().await?;
        let mut loaded = None;
        let error = cluster.case(async |case| {
            let node = case.node();
            let (small, pin) = load(case, "pinned in vain").await?;
            assert_eq!(pin, Pin::Ignored);
            let row = row(node, small.reference()).await?;
            assert!(row.contains(PINNED), "{row}");
            let image = find(node, small.reference()).await?.expect("must be there");
            assert!(!image.pinned, "CRI of 1.6.20 heeds the pin");
            loaded = Some((small, image.id));
            fill(node, FULL).await?;
            // A test that loses an image waits for something that cannot happen any more.
            let forever = async || Probe::<()>::Pending("nothing".to_owned());
            Ok(wait::until("what needs the image", 2 * SOON, forever).await?)
        });
        let error = format!("{:#}", error.await.expect_err("the image must be missed"));
        let (small, id) = loaded.expect("must be loaded");
        let node = cluster.control_plane().name();
        let gone = format!(
            "protected image '{}' is gone from node '{node}' since 20",
            small.reference()
        );
        let words = format!("\"Removing image to free bytes\" imageID=\"{id}\"");
        for words in [gone, "the kubelet removed it".to_owned(), words] {
            assert!(error.contains(&words), "no {words} in: {error}");
        }
        small.remove().await?;
        Ok(cluster.down().await?)
    }

    /// The path of the thresholds. A kubelet's first pass usually fails for lack of statistics, and
    /// the next comes five minutes later.
    mod long {
        use super::*;

        #[tokio::test]
        async fn the_threshold_deletes_an_unpinned_image_and_no_pinned_one() -> anyhow::Result<()> {
            let threshold = "{kind: KubeletConfiguration, imageMinimumGCAge: 1s, \
                 imageGCHighThresholdPercent: 85, imageGCLowThresholdPercent: 80}";
            let spec = spec().with_recipe(CONTAINERD_2_0)?.with_image_collection();
            let cluster = spec.with_kubeadm_patch(threshold)?.boot().await?;
            cluster
                .case(async |case| {
                    let node = case.node();
                    let (lost, _) = load(case, "above the threshold").await?;
                    let (kept, _) = load(case, "above the threshold, pinned").await?;
                    case.cluster().images().release(lost.reference()).await?;
                    let id = find(node, lost.reference())
                        .await?
                        .expect("must be there")
                        .id;
                    fill(node, FULL).await?;
                    // A restarted kubelet takes existing images for old. A running one looks for
                    // new images every five minutes, and would not delete them before its third
                    // pass.
                    node.exec_ok(&["systemctl", "restart", "kubelet"]).await?;
                    wait_until_collected(node, lost.reference(), Duration::from_secs(400)).await?;
                    let over = "\"Disk usage on image filesystem is over the high threshold, trying \
                         to free bytes down to the low threshold\" usage=";
                    wait_for_words(node, over, 1).await?;
                    let removal = format!("\"Removing image to free bytes\" imageID=\"{id}\"");
                    let journal = wait_for_words(node, &removal, 1).await?;
                    assert!(journal.contains("highThreshold=85"), "{journal}");
                    assert!(!journal.contains("Eviction manager: attempting to reclaim"));
                    assert!(
                        find(node, kept.reference()).await?.is_some(),
                        "the pin did not hold"
                    );
                    case.note_observed(removal.as_str(), removal.as_str());
                    lost.remove().await?;
                    Ok(kept.remove().await?)
                })
                .await?;
            Ok(cluster.down().await?)
        }
    }
}

/// kubenest's default protection: kubelet settings that delete nothing, and pins.
mod fixed {
    use image_gc_protection::{
        FULL, OFF, SOON, cri, critical_pod, fill, find, has_pin, journal, load, spec, unpin,
        wait_for_words, wait_until_collected,
    };
    use kubenest::{
        Case, Cluster, ClusterSpec, ErrorKind,
        images::{Pin, SmallImage},
        node::FileEntry,
        wait::{self, Probe},
    };

    /// The kubelet's configuration in a node.
    const CONFIG: &str = "/var/lib/kubelet/config.yaml";

    /// The file with further flags of a node's kubelet, and what a line of it begins with.
    const FLAGS: &str = "/etc/default/kubelet";
    const EXTRA: &str = "KUBELET_EXTRA_ARGS=";

    /// A flag of the kubelet, which overrides the configuration file.
    const EVICT: &str = "--eviction-hard=imagefs.available<20%";

    /// One node with one protection after the other: first all of them; then threshold and pin
    /// without the eviction settings, beside an unpinned image that proves that the collector
    /// works.
    #[tokio::test]
    async fn each_protection_keeps_images() -> anyhow::Result<()> {
        let watched =
            "{kind: KubeletConfiguration, imageMinimumGCAge: 1s, logging: {verbosity: 3}}";
        let spec = spec().with_kubeadm_patch(watched)?;
        let cluster = spec.boot().await?;
        let (kept, control, removed) = cluster
            .case(async |case| {
                check_equal_thresholds_are_refused(case).await?;
                let (kept, pin) = load(case, "protected").await?;
                assert_eq!(pin, Pin::Held);
                let (control, _) = load(case, "only settings protect it").await?;
                case.cluster().images().release(control.reference()).await?;
                let (removed, _) = load(case, "removed by hand").await?;
                Ok((kept, control, removed))
            })
            .await?;
        check_lost_pin_is_restored(&cluster, &kept).await?;
        check_manual_removal_is_reported(&cluster, removed).await?;
        cluster
            .case(async |case| {
                check_settings_alone_keep(case, &control).await?;
                check_pin_alone_keeps(case, &kept, &control).await?;
                case.create(&critical_pod(case.node(), &kept, "needs-it"))
                    .await?;
                case.pod_ready("needs-it", SOON).await?;
                case.note_observed("runs from the kept image", "it does");
                Ok(())
            })
            .await?;
        let sick = cluster
            .health()
            .await
            .expect_err("the gate must see the flag");
        let report = sick.report();
        let setting = format!("evictionHard imagefs.available<20% (flag {EVICT}), asked 0%");
        assert!(report.contains(&setting), "{report}");
        kept.remove().await?;
        control.remove().await?;
        Ok(cluster.down().await?)
    }

    /// Equal thresholds protect nothing, because no kubelet starts with them.
    async fn check_equal_thresholds_are_refused(case: &Case<'_>) -> anyhow::Result<()> {
        let low = "{kind: KubeletConfiguration, imageGCLowThresholdPercent: 100}";
        let spec = ClusterSpec::single_node().with_kubeadm_patch(low)?;
        let refused = spec.boot().await.expect_err("must be refused");
        assert_eq!(refused.kind(), ErrorKind::Input);
        let words = refused.to_string();
        let (_, words) = words
            .split_once("no kubelet starts with this: ")
            .expect("must say why");

        let node = case.node();
        let config = String::from_utf8(node.read_file(CONFIG).await?)?;
        let set = "imageGCLowThresholdPercent: 80";
        assert!(config.contains(set), "{config}");
        let config = config.replace(set, "imageGCLowThresholdPercent: 100");
        let path = "/run/equal.yaml";
        node.write_files(&[FileEntry::new(path, config)]).await?;
        let kubelet = node
            .exec(&["timeout", "20", "kubelet", "--config", path])
            .await?;
        assert_eq!(kubelet.status, 1, "{}", kubelet.stderr);
        assert!(
            kubelet.stderr.contains(words),
            "{words}: {}",
            kubelet.stderr
        );
        Ok(())
    }

    /// The pin is removed between two tests, and the runtime restarted: the next test starts with
    /// the pin restored. A pin removed during the test is restored as well.
    async fn check_lost_pin_is_restored(
        cluster: &Cluster,
        kept: &SmallImage,
    ) -> anyhow::Result<()> {
        let node = cluster.control_plane();
        unpin(node, kept.reference()).await?;
        let restart = ["systemctl", "restart", node.runtime().service()];
        node.exec_ok(&restart).await?;
        wait::until("the node to be well again", SOON, async || {
            Probe::from_result(cluster.health().await)
        })
        .await?;
        let pinned = async || {
            let image = find(node, kept.reference()).await?;
            anyhow::Ok(image.is_some_and(|image| image.pinned))
        };
        assert!(!pinned().await?, "the pin is there although it was taken");
        cluster
            .case(async |case| {
                assert!(pinned().await?, "the pin was not put back before the test");
                unpin(node, kept.reference()).await?;
                case.until("its pin to be put back", SOON, async || {
                    match has_pin(node, kept.reference()).await {
                        Ok(true) => Probe::Ready(()),
                        Ok(false) => Probe::Pending("it has none".to_owned()),
                        Err(error) => Probe::Pending(format!("{error:#}")),
                    }
                })
                .await?;
                Ok(())
            })
            .await
    }

    /// Removed through CRI without the kubelet, as by `crictl rmi`, which ignores pins.
    async fn check_manual_removal_is_reported(
        cluster: &Cluster,
        small: SmallImage,
    ) -> anyhow::Result<()> {
        let error = cluster.case(async |case| {
            let cri = cri(case.node()).await?;
            Ok(cri.remove_image(small.reference()).await?)
        });
        let error = error
            .await
            .expect_err("the image must be missed")
            .to_string();
        assert!(error.contains(small.reference()), "{error}");
        assert!(error.contains("no line of its kubelet names it"), "{error}");
        // Stop protecting it: the next cases need only the other images.
        cluster.images().release(small.reference()).await?;
        Ok(small.remove().await?)
    }

    /// Two rounds of the eviction manager on a full disk leave an unpinned image.
    async fn check_settings_alone_keep(
        case: &Case<'_>,
        control: &SmallImage,
    ) -> anyhow::Result<()> {
        let node = case.node();
        wait_for_words(node, OFF, 1).await?;
        fill(node, FULL).await?;
        let round = "\"Eviction manager: no resources are starved\"";
        let before = journal(node).await?.matches(round).count();
        let journal = wait_for_words(node, round, before + 2).await?;
        assert!(
            !journal.contains("Attempting to delete unused images"),
            "{journal}"
        );
        let image = find(node, control.reference()).await?;
        assert!(
            image.is_some_and(|image| !image.pinned),
            "the settings did not keep it"
        );
        Ok(())
    }

    /// The same disk and images under a kubelet whose flags make it evict.
    async fn check_pin_alone_keeps(
        case: &Case<'_>,
        kept: &SmallImage,
        control: &SmallImage,
    ) -> anyhow::Result<()> {
        let node = case.node();
        let id = find(node, control.reference())
            .await?
            .expect("must be there")
            .id;
        // CRI-O's nodes have an argument there, which the kubelet needs.
        let read = ["cat", FLAGS];
        let given = node.exec(&read).await?.text();
        let given = given.trim().strip_prefix(EXTRA).unwrap_or_default();
        let flags = format!("{EXTRA}{given} {EVICT}\n");
        node.write_files(&[FileEntry::new(FLAGS, flags)]).await?;
        node.exec_ok(&["systemctl", "restart", "kubelet"]).await?;
        wait_until_collected(node, control.reference(), SOON).await?;
        let removal = format!("\"Removing image to free bytes\" imageID=\"{id}\"");
        wait_for_words(node, &removal, 1).await?;
        // The pass that removed the unpinned image left the pinned one.
        let image = find(node, kept.reference()).await?;
        assert!(
            image.is_some_and(|image| image.pinned),
            "the pin did not keep it"
        );
        Ok(())
    }
}
