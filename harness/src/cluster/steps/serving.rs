//! The certificate with which the components of a node serve.
//!
//! The kubelet, the controller manager and the scheduler make one each time they start if they are
//! given none: an authority and a server, both with RSA keys, which is a good part of the processor
//! time of a start. Nobody verifies these certificates. So a unit makes one with a P-256 key for all
//! of them before the kubelet starts.

use serde_json::{Value, json};

use kubenest_docker::FileEntry;

const SERVICE: &str = "/etc/systemd/system/kubenest-serving.service";
/// Starts the unit before the kubelet.
const DROP_IN: &str = "/etc/systemd/system/kubelet.service.d/20-kubenest-serving.conf";
/// Path in a node of the folder in which the kubelet looks for a certificate before it makes one.
const FOLDER: &str = "/var/lib/kubelet/pki";

/// The files that a node needs before it starts.
pub(in crate::cluster) fn files() -> [FileEntry; 2] {
    let order = "[Unit]\nWants=kubenest-serving.service\nAfter=kubenest-serving.service\n";
    [
        FileEntry::new(SERVICE, include_str!("serving.service")),
        FileEntry::new(DROP_IN, order),
    ]
}

/// The change of kubeadm's document that gives the certificate to the controller manager and the
/// scheduler. The kubelet finds it by itself.
pub(in crate::cluster) fn patch() -> Value {
    let component = json!({
        "extraArgs": [
            {"name": "tls-cert-file", "value": format!("{FOLDER}/kubelet.crt")},
            {"name": "tls-private-key-file", "value": format!("{FOLDER}/kubelet.key")},
        ],
        "extraVolumes": [{
            "name": "kubenest-serving",
            "hostPath": FOLDER,
            "mountPath": FOLDER,
            "readOnly": true,
            "pathType": "Directory",
        }],
    });
    json!({
        "kind": "ClusterConfiguration",
        "controllerManager": component,
        "scheduler": component,
    })
}
