//! Makes the control plane with `kubeadm init`: in one go, or in two parts between which the boot
//! itself does what takes kubeadm longer.

use super::parts;
use crate::cluster::{
    SLOW, STEP,
    kubeadm::{self, CONFIG, Documents},
};
use kubenest_base::Result;
use kubenest_docker::FileEntry;
use kubenest_node::node::Node;

/// Skipped because the image is known to hold what preflight asks for, and because the last phase
/// only restarts the kubelet so that its certificate outlives a year.
const NEVER: &str = "--skip-phases=preflight,kubelet-finalize";
/// Leaves the phases that need no API server. They end with the start of the kubelet, which starts
/// the control plane.
const FILES: &str = "--skip-phases=preflight,wait-control-plane,upload-config,upload-certs,\
    mark-control-plane,bootstrap-token,kubelet-finalize,addon,show-join-command";
/// Leaves the phases that create kubeadm's own objects.
const OBJECTS: &str = "--skip-phases=preflight,certs,kubeconfig,etcd,control-plane,kubelet-start,\
    wait-control-plane,upload-certs,kubelet-finalize,addon,show-join-command";

/// Runs `kubeadm init` to its end.
pub(in crate::cluster) async fn run(node: &Node, documents: &Documents<'_>) -> Result<()> {
    write_config(node, documents).await?;
    let init = init(node, NEVER).await;
    parts::explain(init, node, &parts::CONTROL_PLANE).await
}

/// Writes the files of the control plane and starts the kubelet.
pub(in crate::cluster) async fn write_files(node: &Node, documents: &Documents<'_>) -> Result<()> {
    write_config(node, documents).await?;
    init(node, FILES).await
}

/// Creates the objects by which kubeadm knows its cluster and admits workers.
pub(in crate::cluster) async fn create_objects(node: &Node) -> Result<()> {
    let init = init(node, OBJECTS).await;
    parts::explain(init, node, &parts::CONTROL_PLANE).await
}

async fn write_config(node: &Node, documents: &Documents<'_>) -> Result<()> {
    let config = documents.init(node.ip())?;
    let files = [FileEntry::new(CONFIG, config)];
    node.within(STEP).write_files(&files).await?;
    kubeadm::validate(node, CONFIG, documents).await
}

async fn init(node: &Node, phases: &str) -> Result<()> {
    let argv = [
        "kubeadm",
        "init",
        "--config",
        CONFIG,
        "--skip-token-print",
        phases,
    ];
    node.within(SLOW).exec_ok(&argv).await?;
    Ok(())
}
