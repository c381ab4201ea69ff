//! Check `image-volume`: the runtime mounts an image as a volume, and does not silently ignore the
//! request.
//!
//! Neither a version nor a feature flag shows this. So a container that mounts an image is made,
//! and the runtime is asked what it has mounted.

use std::time::Duration;

use super::{Check, Facts, Name, When, every_runtime, unused_name};
use crate::health::{
    Expected,
    facts::{Fact, in_one_line, require},
    outcome::Outcome,
};
use kubenest_base::{
    Error, Result,
    wait::{self, Probe},
};
use kubenest_node::node::{
    Node, Runtime,
    cri::{CgroupDriver, Cri, PodConfig},
};

pub(super) const CHECK: Check = Check {
    name: Name::ImageVolume,
    when: When::Asked(|expected| expected.image_volumes),
    applies: every_runtime,
    judge,
};

/// How long the runtime may take while it also starts a control plane.
const PATIENCE: Duration = Duration::from_secs(60);

/// The image that the runtime reports as mounted, or its error message.
pub(in crate::health) type MountResult = Result<String, String>;

/// Tries to mount the smallest image that the node has.
pub(in crate::health) async fn look(node: &Node, driver: &Fact<CgroupDriver>) -> Fact<MountResult> {
    // With the systemd driver the cgroup parent is a slice, without it a folder.
    let cgroup_parent = match require(driver)? {
        CgroupDriver::Systemd => "system.slice",
        CgroupDriver::Cgroupfs => "/kubelet",
    };
    // containerd looks for the program when it starts the container, CRI-O when it creates it.
    let command = match node.runtime() {
        Runtime::Containerd => Some("/never-started"),
        Runtime::CriO => None,
    };
    let tried = async {
        let cri = node.cri().await?;
        let images = cri.images().await?;
        let image = images.into_iter().min_by_key(|image| image.size);
        let image = image.ok_or_else(|| Error::not_found("the node has no image"))?;
        let image = image.tags.first().unwrap_or(&image.id);
        wait::until("a pod that nobody removed", PATIENCE, async || {
            attempt(&cri, cgroup_parent, image, command).await
        })
        .await
    };
    tried.await.map_err(in_one_line)
}

/// Makes one attempt. The kubelet removes pods that it does not know, and may remove this one
/// before it gives a result; then nothing was observed.
async fn attempt(
    cri: &Cri,
    cgroup_parent: &str,
    image: &str,
    command: Option<&str>,
) -> Probe<MountResult> {
    let config = PodConfig::on_the_node(&unused_name("image-volume-"), cgroup_parent);
    let pod = match cri.run_pod(&config).await {
        Ok(pod) => pod,
        Err(error) => return Probe::Failed(error),
    };
    let made = cri.create_with_volume(&pod, &config, image, command).await;
    let told =
        match made {
            Ok(mounted) => Probe::Ready(mounted.into_iter().next().ok_or_else(|| {
                "the runtime made the container and mounted no image in it".to_owned()
            })),
            Err(error) if cri.pod_runs(&pod).await => Probe::Ready(Err(error.report())),
            Err(error) => Probe::Pending(error.report()),
        };
    // The removal can fail when the kubelet removes the pod at the same time.
    if let Err(error) = cri.remove_pod(&pod).await
        && cri.pod_runs(&pod).await
    {
        tracing::warn!("{}", error.report());
    }
    told
}

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    let cure = match facts.runtime {
        Runtime::Containerd => "use containerd 2.1 or newer in the node",
        Runtime::CriO => "use CRI-O 1.31 or newer in the node",
    };
    Ok(match require(&facts.image_volume)? {
        Ok(image) => Outcome::passed(format!("mounts {image}")),
        Err(words) => Outcome::failed(words, cure),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{checks::tests::good, report::Verdict};

    #[test]
    fn an_image_volume_must_come_back_as_mounted() {
        let verdict = |facts: &Facts| {
            let finding = CHECK.judge("cp-1", facts, &Expected::default());
            (finding.verdict, finding.observed)
        };
        let mut facts = good();
        let mounts = "mounts registry.k8s.io/pause:3.10".to_owned();
        assert_eq!(verdict(&facts), (Verdict::Passed, mounts));
        let words = "Unknown: failed to mkdir \"\"".to_owned();
        facts.image_volume = Ok(Err(words.clone()));
        assert_eq!(verdict(&facts), (Verdict::Failed, words));
        facts.image_volume = Err("no answer".to_owned());
        assert_eq!(verdict(&facts).0, Verdict::Unknown);
    }
}
