//! Controllers that were side-loaded into the nodes of Cluster API's Docker provider survive a full disk.
//!
//! A CI node, Docker in a pod on it, and the nodes in there share one disk. When it is full, the
//! innermost kubelets delete images that no container uses. No registry has them: the controllers
//! that are moved there cannot start, and `clusterctl move` fails at their webhooks.
//!
//! Regression test for <https://github.com/kubernetes-sigs/cluster-api/issues/11856> and
//! <https://github.com/kubernetes-sigs/cluster-api/pull/11904>. Obsolete when kubelets no longer
//! delete images that cannot be pulled again.

use anyhow::{Result, ensure};
use capd_image_gc::{
    hosted,
    place::{MANAGEMENT, Place},
    pressure::{journal_lines, present},
    workload::{KUBECONFIG, NAME, node_of},
};
use kubenest::{Cluster, health::Expected};
use kubenest_fixtures::cluster_api::ClusterApi;
use kubenest_health::health::{self, Verdict};
use serde_json::{Value, json};

/// Percent of the disk in use at which every kubelet with default thresholds deletes.
const FULL: u64 = 91;

/// kubenest's settings of a kubelet, as flags.
fn settings() -> Value {
    json!({
        "image-gc-high-threshold": "100",
        "eviction-hard": "nodefs.available<0%,nodefs.inodesFree<0%,imagefs.available<0%,\
                          imagefs.inodesFree<0%",
    })
}

/// The controllers run on the nodes of a group from these images, and take the cluster over.
async fn controllers_take_over(
    place: &Place,
    workload: &Cluster,
    (api, group): (&ClusterApi, &str),
    (from, to): (&str, &str),
) -> Result<()> {
    let (images, node) = (api.images(), node_of(workload, group)?);
    ensure!(
        present(node, &images).await? == images,
        "'{node}' has lost images"
    );
    hosted::install_on(place, api, group).await?;
    hosted::until_available(&workload.client()).await?;
    let moved = hosted::move_objects(place, from, to).await?;
    ensure!(moved.status == 0, "clusterctl move: {}", moved.stderr);
    let managed = hosted::managed(place, to).await?;
    ensure!(managed.ends_with(&format!("/{NAME}")), "{managed:?}");
    ensure!(hosted::managed(place, from).await?.is_empty());
    ensure!(
        present(node, &images).await? == images,
        "'{node}' has lost images"
    );
    Ok(())
}

/// What the health gate says of the disk of a group's node.
async fn disk_finding(workload: &Cluster, group: &str) -> Result<(Verdict, String)> {
    let node = node_of(workload, group)?.path();
    let report = health::examine(workload.nodes(), &workload.client(), &Expected::default()).await;
    let finding = report
        .findings
        .iter()
        .find(|one| one.node == node && one.name == "disk");
    let finding = finding.expect("the gate looks at the disk of each node");
    Ok((finding.verdict.clone(), finding.observed.clone()))
}

/// Nodes that Cluster API 1.8.4 has made, with and without what keeps images.
mod affected {
    mod long {
        use std::slice;

        use super::super::*;
        use capd_image_gc::{
            pressure::until_collected,
            workload::{self, Group},
        };
        use kubenest::{Case, images::Images, node::Node};

        /// The sides of 1.8.4 share one time of pressure: a node as Cluster API makes it, into which
        /// kubenest has loaded copies with pins, and a control plane with kubenest's settings.
        #[tokio::test]
        async fn a_full_disk_takes_the_controllers_of_1_8_4_unless_pins_or_settings_keep_them()
        -> Result<()> {
            let place = Place::make("1.8.4").await?;
            let worked = place
                .management
                .case(async |case| sides(case, &place).await);
            let worked = worked.await;
            place.down().await?;
            worked
        }

        async fn sides(case: &Case<'_>, place: &Place) -> Result<()> {
            let images = place.api.images();
            let groups = [
                Group::new("settings", &images, settings()),
                Group::new("plain", &images, json!({})),
            ];
            let workload = workload::make(place, &groups).await?;
            let plain = node_of(&workload, "plain")?;
            let docker = place.management.docker();
            let node = Images::of(docker, slice::from_ref(plain));
            for copy in place.copies.images() {
                node.load(copy.as_str()).await?;
            }
            ensure!(
                present(plain, &images).await? == images,
                "they were not loaded"
            );
            no_kubelet_starts_with_equal_thresholds(plain).await?;
            case.note_step("the disk is filled");
            place.engine.disk.fill(FULL).await?;
            the_gate_names_the_risk(place, &workload).await?;

            until_collected(plain, &images).await?;
            case.note_failure_shown();
            controllers_cannot_start(case, place, &workload).await?;
            case.note_step("kubenest's settings");
            let (there, back) = ((MANAGEMENT, KUBECONFIG), (KUBECONFIG, MANAGEMENT));
            controllers_take_over(place, &workload, (&place.api, "settings"), there).await?;
            case.note_step("kubenest's pins");
            controllers_take_over(place, &workload, (&place.copies, "plain"), back).await
        }

        /// Thresholds of 100 and 100, which well-known advice has, protect nothing.
        async fn no_kubelet_starts_with_equal_thresholds(node: &Node) -> Result<()> {
            let both = [
                "--image-gc-high-threshold=100",
                "--image-gc-low-threshold=100",
            ];
            let kubelet = [
                "timeout",
                "20",
                "kubelet",
                "--config=/var/lib/kubelet/config.yaml",
            ];
            let ended = node.exec(&[kubelet.as_slice(), &both].concat()).await?;
            let words = "100 must be less than imageGCHighThresholdPercent";
            ensure!(
                ended.status == 1 && ended.stderr.contains(words),
                "{}",
                ended.stderr
            );
            Ok(())
        }

        /// Before anything is lost, in the right layer.
        async fn the_gate_names_the_risk(place: &Place, workload: &Cluster) -> Result<()> {
            let (verdict, observed) = disk_finding(workload, "plain").await?;
            ensure!(verdict == Verdict::Failed, "{observed}");
            let used = observed
                .split_once("% used, ")
                .map(|(used, _)| used.parse());
            ensure!(matches!(used, Some(Ok(FULL..=100))), "{observed}");
            ensure!(observed.contains("kubelet deletes from 85%"), "{observed}");
            for image in place.api.images() {
                ensure!(observed.contains(&image), "no {image} in: {observed}");
            }
            let refused = workload.health().await;
            let refused = refused.expect_err("the gate must refuse").report();
            let plain = node_of(workload, "plain")?.path();
            ensure!(plain.starts_with("ci/"), "{plain} names no layer");
            // Of several findings the first is told whole.
            let words = [
                format!("'disk' failed on {plain}: "),
                format!("'disk' on {plain}"),
            ];
            ensure!(
                words.iter().any(|words| refused.contains(words)),
                "{refused}"
            );
            let (verdict, observed) = disk_finding(workload, "settings").await?;
            ensure!(verdict == Verdict::Passed, "{observed}");
            Ok(())
        }

        /// The lost images stand before all else, with lines of the innermost node.
        async fn the_evidence_names_the_cause(workload: &Cluster) -> Result<()> {
            let evidence = workload.evidence().await?;
            evidence.assert_cause("image-collected");
            let plain = format!("nodes/{}/", node_of(workload, "plain")?);
            let lines = &evidence.causes[0].lines;
            ensure!(
                lines.iter().any(|line| line.place.starts_with(&plain)),
                "{lines:?}"
            );
            Ok(())
        }

        /// The controllers have no image, so nothing answers at their webhooks.
        async fn controllers_cannot_start(
            case: &Case<'_>,
            place: &Place,
            workload: &Cluster,
        ) -> Result<()> {
            let plain = node_of(workload, "plain")?;
            for words in ["Removing image to free bytes", "over the high threshold"] {
                ensure!(!journal_lines(plain, words).await?.is_empty(), "no {words}");
            }
            hosted::install_on(place, &place.api, "plain").await?;
            let reasons = hosted::reasons_to_wait(workload).await?;
            case.note_observed("ErrImagePull", format!("{reasons:?}"));
            let moved = hosted::move_objects(place, MANAGEMENT, KUBECONFIG).await?;
            ensure!(moved.status != 0, "clusterctl move works");
            let words = "failed calling webhook";
            ensure!(moved.stderr.contains(words), "no {words}: {}", moved.stderr);
            the_evidence_names_the_cause(workload).await
        }
    }
}

/// Nodes that Cluster API 1.9.6 has made.
mod fixed {
    mod long {
        use super::super::*;
        use capd_image_gc::{
            pressure::until_collected,
            workload::{self, Group},
        };

        /// A group whose template asks for the kubelet's default threshold proves that the disk is full
        /// and that the kubelets' pass has come.
        #[tokio::test]
        async fn the_controllers_of_1_9_6_stay_on_a_full_disk() -> Result<()> {
            let place = Place::make("1.9.6").await?;
            let images = place.api.images();
            let default = json!({"image-gc-high-threshold": "85"});
            let groups = [
                Group::new("plain", &images, json!({})),
                Group::new("default", &images, default),
            ];
            let worked = place.management.case(async |case| {
                let workload = workload::make(&place, &groups).await?;
                case.note_step("the disk is filled");
                place.engine.disk.fill(FULL).await?;
                let (verdict, observed) = disk_finding(&workload, "plain").await?;
                ensure!(verdict == Verdict::Passed, "{observed}");
                until_collected(node_of(&workload, "default")?, &images).await?;
                let there = (MANAGEMENT, KUBECONFIG);
                controllers_take_over(&place, &workload, (&place.api, "plain"), there).await
            });
            let worked = worked.await;
            place.down().await?;
            worked
        }
    }
}
