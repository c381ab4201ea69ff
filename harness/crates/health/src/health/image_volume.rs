//! The look at image volumes: does the runtime mount an image, or drop the wish unsaid?
//!
//! No version and no feature bit tells; so a container is made that mounts an image, and the
//! runtime is asked what it mounted.

use std::time::Duration;

use super::{
    collect::in_one_line,
    facts::{Seen, seen},
    unused_name,
};
use kubenest_base::{
    Error, Result,
    wait::{self, Probe},
};
use kubenest_node::node::{
    Node,
    cri::{CgroupDriver, Cri, PodConfig},
};

/// How long a runtime may take that starts a control plane beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The image that came back as mounted, or the runtime's words against it.
pub(super) type Mounted = Result<String, String>;

/// Tries it, with the smallest image that the node has.
pub(super) async fn look(node: &Node, driver: &Seen<CgroupDriver>) -> Seen<Mounted> {
    // systemd takes a slice for a parent, and the runtime alone a folder.
    let cgroup_parent = match seen(driver)? {
        CgroupDriver::Systemd => "system.slice",
        CgroupDriver::Cgroupfs => "/kubelet",
    };
    let tried = async {
        let cri = node.cri().await?;
        let images = cri.images().await?;
        let image = images.into_iter().min_by_key(|image| image.size);
        let image = image.ok_or_else(|| Error::not_found("the node has no image"))?;
        let image = image.tags.first().unwrap_or(&image.id);
        wait::until("a pod that nobody removed", PATIENCE, async || {
            attempt(&cri, cgroup_parent, image).await
        })
        .await
    };
    tried.await.map_err(in_one_line)
}

/// One try. The kubelet removes pods that it does not know, and may well remove this one
/// before it has told anything; then nothing was seen.
async fn attempt(cri: &Cri, cgroup_parent: &str, image: &str) -> Probe<Mounted> {
    let config = PodConfig::on_the_node(&unused_name("image-volume-"), cgroup_parent);
    let pod = match cri.run_pod(&config).await {
        Ok(pod) => pod,
        Err(error) => return Probe::Failed(error),
    };
    let made = cri.create_with_volume(&pod, &config, image).await;
    let told =
        match made {
            Ok(mounted) => Probe::Ready(mounted.into_iter().next().ok_or_else(|| {
                "the runtime made the container and mounted no image in it".to_owned()
            })),
            Err(error) if cri.pod_runs(&pod).await => Probe::Ready(Err(error.report())),
            Err(error) => Probe::Pending(error.report()),
        };
    // Two that remove it at once get in each other's way.
    if let Err(error) = cri.remove_pod(&pod).await
        && cri.pod_runs(&pod).await
    {
        tracing::warn!("{}", error.report());
    }
    told
}
