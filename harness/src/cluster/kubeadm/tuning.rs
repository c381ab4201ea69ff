//! What a test's cluster needs not have of kubeadm's defaults, each with what it costs a boot.
//!
//! The data of such a cluster dies with its nodes, and nobody attacks its keys.
//! [`ClusterSpec::as_kubeadm`](crate::ClusterSpec::as_kubeadm) leaves all of this out.

use serde_json::{Value, json};

use super::Api;

/// Changes of kubeadm's documents, to be made before the user's own.
pub(super) fn patches(api: Api) -> [Value; 2] {
    let mut cluster = json!({
        "kind": "ClusterConfiguration",
        "etcd": {"local": {"extraArgs": [
            // The only member elects itself after a random one to ten heartbeats, at every start.
            {"name": "heartbeat-interval", "value": "10"},
            {"name": "election-timeout", "value": "100"},
            // A boot makes hundreds of small writes, each of which would wait for the disk. Only
            // a crash of the machine loses what was not flushed.
            {"name": "unsafe-no-fsync", "value": "true"},
        ]}},
    });
    // kubeadm makes sixteen keys one after another: of RSA that takes seconds of a core.
    match api {
        Api::V1beta3 => cluster["featureGates"] = json!({"PublicKeysECDSA": true}),
        Api::V1beta4 => cluster["encryptionAlgorithm"] = json!("ECDSA-P256"),
    }
    let proxy = json!({
        "kind": "KubeProxyConfiguration",
        // A new Service would wait for up to a second after the last change.
        "iptables": {"minSyncPeriod": "0s"},
    });
    [cluster, proxy]
}
