//! Makes the control plane with `kubeadm init`: in one go, or in two parts between which the boot
//! itself does what takes kubeadm longer.

use futures::future::try_join_all;

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
/// The phases that create kubeadm's own objects. Each is a process of its own, because kubeadm makes at
/// most ten requests before it slows down to five a second.
const OBJECTS: [&[&str]; 3] = [
    &["upload-config", "all"],
    &["mark-control-plane"],
    &["bootstrap-token"],
];

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
    let created = OBJECTS.map(|phase| async move {
        let before = ["kubeadm", "init", "phase"];
        let argv = [before.as_slice(), phase, &["--config", CONFIG]].concat();
        node.within(SLOW).exec_ok(&argv).await.map(drop)
    });
    let created = try_join_all(created).await.map(drop);
    parts::explain(created, node, &parts::CONTROL_PLANE).await
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
