//! Makes the control plane with `kubeadm init`.

use super::parts;
use crate::cluster::{
    SLOW, STEP,
    kubeadm::{self, CONFIG, Documents},
};
use kubenest_base::Result;
use kubenest_docker::FileEntry;
use kubenest_node::node::Node;

/// Runs `kubeadm init` to its end.
pub(in crate::cluster) async fn run(node: &Node, documents: &Documents<'_>) -> Result<()> {
    let config = documents.init(node.ip())?;
    let files = [FileEntry::new(CONFIG, config)];
    node.within(STEP).write_files(&files).await?;
    kubeadm::validate(node, CONFIG, documents).await?;
    let patient = node.within(SLOW);
    let init = patient.exec_ok(&[
        "kubeadm",
        "init",
        "--config",
        CONFIG,
        "--skip-token-print",
        // Preflight is skipped because the image is known to hold what it asks for, CoreDNS because
        // it comes later, and the last phase because it only restarts the kubelet so that its
        // certificate outlives a year.
        "--skip-phases=preflight,addon/coredns,kubelet-finalize",
    ]);
    parts::explain(init.await, node, &parts::CONTROL_PLANE).await?;
    Ok(())
}
