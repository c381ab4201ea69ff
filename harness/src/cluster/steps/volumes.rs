//! Dynamic volumes of pods.
//!
//! The controller manager has a provisioner of its own for tests, `kubernetes.io/host-path`: it makes
//! a folder for each claim, and removes the folder with its volume. It knows nothing of nodes. So the
//! folder of these folders is one volume of the engine, which all nodes have: a pod finds its data on
//! whatever node it runs.

use serde_json::{Value, json};

use kubenest_docker::FileEntry;

/// Where the nodes have the folders; the provisioner knows no other place.
pub(in crate::cluster) const FOLDER: &str = "/tmp/hostpath_pv";

const SERVICE: &str = "/etc/systemd/system/kubenest-volumes.service";
const SCRIPT: &str = "/kind/volumes";
/// Starts the service with the kubelet.
const DROP_IN: &str = "/etc/systemd/system/kubelet.service.d/20-kubenest-volumes.conf";

/// The files that the control plane's node needs before it starts.
pub(in crate::cluster) fn files() -> [FileEntry; 3] {
    [
        FileEntry::new(SERVICE, include_str!("volumes.service")),
        FileEntry::new(SCRIPT, include_str!("volumes.sh")).with_mode(0o755),
        FileEntry::new(DROP_IN, "[Unit]\nWants=kubenest-volumes.service\n"),
    ]
}

/// The change of kubeadm's document that gives the controller manager its provisioner.
pub(in crate::cluster) fn patch() -> Value {
    json!({
        "kind": "ClusterConfiguration",
        "controllerManager": {
            "extraArgs": [{"name": "enable-hostpath-provisioner", "value": "true"}],
            "extraVolumes": [{
                "name": "kubenest-volumes",
                "hostPath": FOLDER,
                "mountPath": FOLDER,
                "pathType": "Directory",
            }],
        },
    })
}

/// The default class of volumes. A claim is bound at once, since any node will do.
pub(in crate::cluster) fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/host-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    })
}
