//! The documents that kubeadm is given.

use std::{net::IpAddr, time::Duration};

use serde_json::{Value, json};

use crate::{Context, Error, Result, wait};

/// All pods' addresses.
pub(super) const POD_SUBNET: &str = "10.244.0.0/16";
/// All Services' addresses.
pub(super) const SERVICE_SUBNET: &str = "10.96.0.0/16";

const API: &str = "kubeadm.k8s.io/v1beta4";
/// Before 1.31 kubeadm reads the older version only.
const OLD_API: &str = "kubeadm.k8s.io/v1beta3";
/// How long kubeadm waits for a part of the cluster: less than the boot waits for kubeadm, so
/// that it tells itself what does not come.
const CHECK: Duration = Duration::from_secs(150);
const KINDS: [&str; 5] = [
    "ClusterConfiguration",
    "InitConfiguration",
    "JoinConfiguration",
    "KubeletConfiguration",
    "KubeProxyConfiguration",
];

/// What the documents are made for.
pub(super) struct Documents<'a> {
    /// Kubernetes, for example `1.32.1`; unknown of a foreign image that does not say.
    pub kubernetes: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// Name of the control plane's node.
    pub control_plane: &'a str,
    /// A bootstrap token for the workers.
    pub token: &'a str,
    /// The user's changes, in order.
    pub patches: &'a [Value],
}

/// Reads one of the user's changes.
pub(super) fn patch(yaml: &str) -> Result<Value> {
    let value: Value = serde_saphyr::from_str(yaml)
        .map_err(|cause| Error::input("the kubeadm patch is no YAML").because(cause))?;
    let kind = value
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Err(Error::input(format!("the kubeadm patch has kind '{kind}'"))
            .cure(format!("give it one of {}", KINDS.join(", "))));
    }
    Ok(value)
}

/// Refuses the user's changes when they leave the kubelets with thresholds of image garbage
/// collection that no kubelet starts with.
pub(super) fn check(patches: &[Value]) -> Result<()> {
    let mut kubelet = kubelet();
    let kind = kubelet["kind"].clone();
    for patch in patches.iter().filter(|patch| patch["kind"] == kind) {
        merge(&mut kubelet, patch);
    }
    for kind in ["InitConfiguration", "JoinConfiguration"] {
        let threshold = |key: &str, flag: &str, default: i64| {
            let flag = flag_of(patches, kind, flag);
            flag.unwrap_or_else(|| kubelet[key].as_i64().unwrap_or(default))
        };
        let high = threshold("imageGCHighThresholdPercent", "image-gc-high-threshold", 85);
        let low = threshold("imageGCLowThresholdPercent", "image-gc-low-threshold", 80);
        if low >= high {
            let what = format!(
                "no kubelet starts with this: invalid configuration: imageGCLowThresholdPercent \
                 (--image-gc-low-threshold) {low} must be less than imageGCHighThresholdPercent \
                 (--image-gc-high-threshold) {high}"
            );
            return Err(Error::input(what).cure(
                "a high threshold of 100 turns image garbage collection off by itself: \
                 leave imageGCLowThresholdPercent out",
            ));
        }
    }
    Ok(())
}

/// The number that a patch of this kind gives the kubelet as a flag.
fn flag_of(patches: &[Value], kind: &str, flag: &str) -> Option<i64> {
    let latest_first = patches.iter().rev().filter(|patch| patch["kind"] == kind);
    let mut given = latest_first.filter_map(
        |patch| match &patch["nodeRegistration"]["kubeletExtraArgs"] {
            Value::Array(list) => list.iter().rfind(|arg| arg["name"] == flag)?["value"].as_str(),
            args => args[flag].as_str(),
        },
    );
    given.next()?.parse().ok()
}

/// The subnet of the pods on the node of this index.
pub(super) fn node_subnet(index: usize) -> String {
    format!("10.244.{index}.0/24")
}

impl Documents<'_> {
    /// The YAML for `kubeadm init`, for the node at this address.
    pub(super) fn init(&self, ip: IpAddr) -> Result<String> {
        let no_election = json!([{"name": "leader-elect", "value": "false"}]);
        let mut cluster = json!({
            "kind": "ClusterConfiguration",
            "clusterName": self.cluster,
            "kubernetesVersion": format!("v{}", self.kubernetes),
            "controlPlaneEndpoint": format!("{}:6443", self.control_plane),
            "apiServer": {"certSANs": ["localhost", "127.0.0.1", self.control_plane]},
            // The only one there is need not wait for a lease. Subnets are handed out by
            // the boot, before there is a controller to do it. At the usual 20 requests a
            // second the controllers' own accounts alone take five seconds to make.
            "controllerManager": {"extraArgs": args(&no_election, json!([
                {"name": "allocate-node-cidrs", "value": "false"},
                {"name": "kube-api-qps", "value": "300"},
                {"name": "kube-api-burst", "value": "600"},
            ]))},
            "scheduler": {"extraArgs": no_election},
            "networking": {"podSubnet": POD_SUBNET, "serviceSubnet": SERVICE_SUBNET},
        });
        let mut init = json!({
            "kind": "InitConfiguration",
            "bootstrapTokens": [{"token": self.token, "ttl": "24h0m0s"}],
            "localAPIEndpoint": {"advertiseAddress": ip, "bindPort": 6443},
            "nodeRegistration": registration(ip),
        });
        if self.is_old() {
            cluster["apiServer"]["timeoutForControlPlane"] = json!(scaled(CHECK));
        } else {
            init["timeouts"] = timeouts();
        }
        self.write(vec![cluster, init, kubelet(), proxy()])
    }

    /// The YAML for `kubeadm join`, for the worker at this address.
    pub(super) fn join(&self, ip: IpAddr, discovery: &str) -> Result<String> {
        let mut join = json!({
            "kind": "JoinConfiguration",
            "discovery": {
                "file": {"kubeConfigPath": discovery},
                "tlsBootstrapToken": self.token,
            },
            "nodeRegistration": registration(ip),
        });
        if self.is_old() {
            join["discovery"]["timeout"] = json!(scaled(CHECK));
        } else {
            join["timeouts"] = timeouts();
        }
        self.write(vec![join])
    }

    /// Whether kubeadm reads the older version only.
    fn is_old(&self) -> bool {
        minor(self.kubernetes) < 31
    }

    fn write(&self, documents: Vec<Value>) -> Result<String> {
        let mut text = String::new();
        for mut document in documents {
            let kind = document["kind"].clone();
            document["apiVersion"] = json!(match kind.as_str() {
                Some("KubeletConfiguration") => "kubelet.config.k8s.io/v1beta1",
                Some("KubeProxyConfiguration") => "kubeproxy.config.k8s.io/v1alpha1",
                _ if self.is_old() => OLD_API,
                _ => API,
            });
            for patch in self.patches.iter().filter(|patch| patch["kind"] == kind) {
                merge(&mut document, patch);
            }
            if document["apiVersion"] == OLD_API {
                maps_for_lists(&mut document);
            }
            let yaml = serde_saphyr::to_string(&document).context("write kubeadm's YAML")?;
            text.push_str("---\n");
            text.push_str(&yaml);
            text.push('\n');
        }
        Ok(text)
    }
}

fn args(first: &Value, second: Value) -> Value {
    let both = [first, &second];
    Value::Array(
        both.into_iter()
            .filter_map(Value::as_array)
            .flatten()
            .cloned()
            .collect(),
    )
}

fn registration(ip: IpAddr) -> Value {
    json!({
        "criSocket": "unix:///run/containerd/containerd.sock",
        "kubeletExtraArgs": [{"name": "node-ip", "value": ip.to_string()}],
        // The control plane runs workloads too, so that one node is enough for a test.
        "taints": [],
    })
}

/// kubeadm's own deadlines.
fn timeouts() -> Value {
    json!({
        "controlPlaneComponentHealthCheck": scaled(CHECK),
        "kubeletHealthCheck": scaled(CHECK),
        "tlsBootstrap": scaled(CHECK),
        "discovery": scaled(CHECK),
        "kubernetesAPICall": scaled(Duration::from_secs(60)),
        "etcdAPICall": scaled(Duration::from_secs(120)),
    })
}

/// A deadline as kubeadm reads it.
fn scaled(deadline: Duration) -> String {
    format!("{}s", wait::scaled(deadline).as_secs().max(1))
}

fn kubelet() -> Value {
    json!({
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "cgroupRoot": "/kubelet",
        "failSwapOn": false,
        // Side-loaded images are in no registry: nothing may ever delete them.
        // imageMaximumGCAge is left at its default of 0, never: kubelets before 1.29 do not
        // know it.
        "imageGCHighThresholdPercent": 100,
        // The kubelet refuses one that is not below the high one.
        "imageGCLowThresholdPercent": 80,
        // At full disk the kubelet would delete images whatever the thresholds say. It derives
        // the signals of containerfs from these, and sets those that are not named to 0 itself.
        "evictionHard": {
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
    })
}

fn proxy() -> Value {
    json!({
        "kind": "KubeProxyConfiguration",
        // Belongs to the host's kernel, where a container may not set it.
        "conntrack": {"maxPerCore": 0},
    })
}

/// Merges as JSON merge patches do: mappings merge, `null` removes, all else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// v1beta3 has extra arguments as a mapping, v1beta4 as a list of names and values.
fn maps_for_lists(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (key, field) in fields {
        match field {
            Value::Array(list) if key == "extraArgs" || key == "kubeletExtraArgs" => {
                let pairs = list.iter().filter_map(|arg| {
                    Some((arg["name"].as_str()?.to_owned(), arg["value"].clone()))
                });
                *field = Value::Object(pairs.collect());
            }
            _ => maps_for_lists(field),
        }
    }
}

fn minor(version: &str) -> u32 {
    version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok())
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents<'a>(kubernetes: &'a str, patches: &'a [Value]) -> Documents<'a> {
        Documents {
            kubernetes,
            cluster: "a",
            control_plane: "a-control-plane",
            token: "abcdef.0123456789abcdef",
            patches,
        }
    }

    #[test]
    fn a_patch_changes_the_document_of_its_kind() {
        let patches = [patch(
            "{kind: KubeletConfiguration, maxPods: 20, failSwapOn: null}",
        )];
        let patches = patches.map(Result::unwrap);
        let text = documents("1.32.1", &patches)
            .init([10, 0, 0, 2].into())
            .unwrap();
        assert!(text.contains("maxPods: 20"), "{text}");
        assert!(!text.contains("failSwapOn"), "{text}");
    }

    #[test]
    fn a_patch_of_no_known_kind_is_refused() {
        let error = patch("{kind: KubletConfiguration}").unwrap_err();
        assert!(
            error.report().contains("'KubletConfiguration'"),
            "{error:?}"
        );
        assert!(error.cure_text().unwrap().contains("KubeletConfiguration"));
    }

    #[test]
    fn thresholds_no_kubelet_starts_with_are_refused_in_its_own_words() {
        let check = |patches: &[&str]| {
            let patches = patches.iter().map(|text| patch(text).unwrap());
            check(&patches.collect::<Vec<_>>()).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[]), Ok(()));
        let both = "{kind: KubeletConfiguration, imageGCHighThresholdPercent: 100, \
                     imageGCLowThresholdPercent: 100}";
        let words = "no kubelet starts with this: invalid configuration: \
             imageGCLowThresholdPercent (--image-gc-low-threshold) 100 must be less than \
             imageGCHighThresholdPercent (--image-gc-high-threshold) 100";
        assert_eq!(check(&[both]), Err(words.to_owned()));
        let low = "{kind: KubeletConfiguration, imageGCLowThresholdPercent: 100}";
        assert_eq!(check(&[low]), Err(words.to_owned()));
        let flag = "{kind: InitConfiguration, nodeRegistration: {kubeletExtraArgs: \
                     [{name: image-gc-low-threshold, value: '100'}]}}";
        assert_eq!(check(&[flag]), Err(words.to_owned()));
        // Without a high threshold it is the kubelet's own 85, without a low one 80.
        let none = "{kind: KubeletConfiguration, imageGCHighThresholdPercent: null, \
                     imageGCLowThresholdPercent: 85}";
        assert!(check(&[none]).unwrap_err().ends_with("85"));
        let high = "{kind: KubeletConfiguration, imageGCHighThresholdPercent: 80}";
        assert!(check(&[high]).unwrap_err().ends_with("80"));
        let lower = "{kind: KubeletConfiguration, imageGCLowThresholdPercent: 5}";
        assert_eq!(check(&[high, lower]), Ok(()));
    }

    #[tokio::test]
    async fn kubeadms_own_deadlines_are_scaled_in_the_version_that_it_reads() {
        let patch = patch("{kind: InitConfiguration, timeouts: {etcdAPICall: 9s}}").unwrap();
        let text = |kubernetes: &'static str| {
            let patches = std::slice::from_ref(&patch);
            let documents = documents(
                kubernetes,
                if kubernetes == "1.32.1" { patches } else { &[] },
            );
            let ip = [10, 0, 0, 2].into();
            (
                documents.init(ip).unwrap(),
                documents.join(ip, "/d").unwrap(),
            )
        };
        let (init, join) = wait::with_factor(3.0, async { text("1.32.1") }).await;
        assert!(
            init.contains("controlPlaneComponentHealthCheck: 450s"),
            "{init}"
        );
        assert!(
            init.contains("etcdAPICall: 9s"),
            "the user's counts: {init}"
        );
        assert!(join.contains("tlsBootstrap: 450s"), "{join}");
        let (init, join) = wait::with_factor(3.0, async { text("1.30.8") }).await;
        assert!(init.contains("timeoutForControlPlane: 450s"), "{init}");
        assert!(join.contains("timeout: 450s"), "{join}");
        assert!(
            !init.contains("timeouts:") && !join.contains("timeouts:"),
            "{init}{join}"
        );
    }

    #[test]
    fn older_kubeadms_get_their_own_version() {
        let text = documents("1.30.8", &[]).init([10, 0, 0, 2].into()).unwrap();
        assert!(text.contains("kubeadm.k8s.io/v1beta3"), "{text}");
        assert!(!text.contains("v1beta4"), "{text}");
        assert!(text.contains("leader-elect: "), "{text}");
    }
}
