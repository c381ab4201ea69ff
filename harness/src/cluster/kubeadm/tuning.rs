//! Changes of kubeadm's defaults that a test's cluster does not need, each with its cost to a boot.
//!
//! The data of such a cluster is lost with its nodes, and nobody attacks its keys.
//! [`ClusterSpec::as_kubeadm`](crate::ClusterSpec::as_kubeadm) omits all of these changes.

use serde_json::{Value, json};

use super::Api;

/// Changes of kubeadm's documents, applied before the user's own.
pub(super) fn patches(api: Api) -> [Value; 2] {
    let mut cluster = json!({
        "kind": "ClusterConfiguration",
        "etcd": {"local": {"extraArgs": [
            // At every start the only member waits a random time of one to ten heartbeats before it
            // elects itself.
            {"name": "heartbeat-interval", "value": "10"},
            {"name": "election-timeout", "value": "100"},
            // A boot makes hundreds of small writes, each of which would wait for the disk. Only a
            // crash of the machine loses unflushed data.
            {"name": "unsafe-no-fsync", "value": "true"},
        ]}},
        // A kubelet often says within milliseconds that a pod runs and that it is Ready. The second
        // change would come before the controller has seen its own answer to the first, and then wait
        // for a second.
        "controllerManager": {"extraArgs": [
            {"name": "endpointslice-updates-batch-period", "value": "100ms"},
        ]},
    });
    // kubeadm makes sixteen keys one after another; with RSA that takes seconds of CPU time.
    match api {
        Api::V1beta3 => cluster["featureGates"] = json!({"PublicKeysECDSA": true}),
        Api::V1beta4 => cluster["encryptionAlgorithm"] = json!("ECDSA-P256"),
    }
    let proxy = json!({
        "kind": "KubeProxyConfiguration",
        // Otherwise a new Service would wait for up to a second after the last change.
        "iptables": {"minSyncPeriod": "0s"},
    });
    [cluster, proxy]
}
