//! The configuration documents for kubeadm.

mod fields;
mod patch;
mod tuning;

use std::{fmt, iter, net::IpAddr, time::Duration};

use semver::Version;
use serde_json::{Value, json};

pub(super) use self::patch::{check_fit, read};
use super::{
    STEP,
    addresses::{API_PORT, Addresses},
    steps::{join, serving, volumes},
};
use kubenest_base::{Context, Error, Result, process::last_lines, wait};
use kubenest_node::node::{Node, Runtime};
use kubenest_recipe::compat;

/// The path in a node of the documents that kubeadm reads.
pub(super) const CONFIG: &str = "/kind/kubeadm.conf";

/// The versions of kubeadm's API in which documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    V1beta3,
    V1beta4,
}

impl Api {
    /// The newest version that kubeadm of this release reads: before 1.31 only the older, from 1.37
    /// on only the newer.
    fn of(kubernetes: &Version) -> Self {
        match (kubernetes.major, kubernetes.minor) < (1, 31) {
            true => Self::V1beta3,
            false => Self::V1beta4,
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1beta4 => "kubeadm.k8s.io/v1beta4",
        })
    }
}

/// How long kubeadm waits for a part of the cluster. It is less than the boot waits for kubeadm, so
/// that kubeadm itself reports the missing part.
const CHECK: Duration = Duration::from_secs(150);

/// The cluster that the documents describe.
pub(super) struct Documents<'a> {
    /// The Kubernetes version, for example `1.32.1`; unknown for a foreign image that does not
    /// report it.
    pub kubernetes: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// Name of the control plane's node.
    pub control_plane: &'a str,
    /// The container runtime of the nodes.
    pub runtime: Runtime,
    /// The addresses within the cluster.
    pub addresses: Addresses,
    /// A bootstrap token for the workers.
    pub token: &'a str,
    /// Whether the kubelets are told to run on cgroup v1, which they refuse by default since 1.35.
    pub allow_cgroup_v1: bool,
    /// Whether kubeadm's defaults are changed to make the boot of a test's cluster faster.
    pub tuned: bool,
    /// The user's changes, in order.
    pub patches: &'a [Value],
}

/// Refuses changes by the user that result in thresholds of image garbage collection with which no
/// kubelet starts.
pub(super) fn check(patches: &[Value]) -> Result<()> {
    let mut kubelet = kubelet();
    let kind = kubelet["kind"].clone();
    for patch in patches.iter().filter(|patch| patch["kind"] == kind) {
        patch::apply(&mut kubelet, patch);
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

/// The number that a patch of this kind gives to the kubelet as a flag.
fn flag_of(patches: &[Value], kind: &str, flag: &str) -> Option<i64> {
    let latest_first = patches.iter().rev().filter(|patch| patch["kind"] == kind);
    let mut given = latest_first.filter_map(|patch| {
        let list = patch["nodeRegistration"]["kubeletExtraArgs"].as_array()?;
        list.iter().rfind(|arg| arg["name"] == flag)?["value"].as_str()
    });
    given.next()?.parse().ok()
}

/// Lets kubeadm validate documents that the user has changed before it acts on them: later it would
/// only warn of fields that it drops.
pub(super) async fn validate(node: &Node, file: &str, documents: &Documents<'_>) -> Result<()> {
    let release = compat::version(documents.kubernetes);
    // kubeadm before 1.27 has no such command.
    if documents.patches.is_empty() || release.is_some_and(|it| (it.major, it.minor) < (1, 27)) {
        return Ok(());
    }
    let argv = ["kubeadm", "config", "validate", "--config", file];
    let told = node.within(STEP).exec(&argv).await?;
    if told.status == 0 {
        return Ok(());
    }
    let words = last_lines(&format!("{}{}", told.text(), told.stderr), 6);
    let words = words
        .split("To see the stack trace")
        .next()
        .unwrap_or_default();
    Err(Error::input(format!(
        "kubeadm {} does not take what the patches ask for: {}",
        documents.kubernetes,
        words.trim()
    ))
    .cure("change the patch; what kubeadm calls unknown this release would drop without a word"))
}

impl Documents<'_> {
    /// The YAML for `kubeadm init`, for the node at this address.
    pub(super) fn init(&self, ip: IpAddr) -> Result<String> {
        let no_election = json!([{"name": "leader-elect", "value": "false"}]);
        let mut cluster = json!({
            "kind": "ClusterConfiguration",
            "clusterName": self.cluster,
            "kubernetesVersion": format!("v{}", self.kubernetes),
            "controlPlaneEndpoint": format!("{}:{API_PORT}", self.control_plane),
            "apiServer": {"certSANs": ["localhost", "127.0.0.1", self.control_plane]},
            // A single controller manager need not wait for a lease. The boot assigns the subnets,
            // before there is a controller to do it. At the default of 20 requests a second, making
            // the controllers' own accounts would take five seconds.
            "controllerManager": {"extraArgs": args(&no_election, json!([
                {"name": "allocate-node-cidrs", "value": "false"},
                {"name": "kube-api-qps", "value": "300"},
                {"name": "kube-api-burst", "value": "600"},
            ]))},
            "scheduler": {"extraArgs": no_election},
            "networking": {
                "podSubnet": self.addresses.pods().to_string(),
                "serviceSubnet": self.addresses.services().to_string(),
            },
        });
        let mut init = json!({
            "kind": "InitConfiguration",
            "bootstrapTokens": [{"token": self.token, "ttl": "24h0m0s"}],
            "localAPIEndpoint": {"advertiseAddress": ip, "bindPort": API_PORT},
            "nodeRegistration": self.registration(ip),
        });
        if self.api() == Api::V1beta3 {
            cluster["apiServer"]["timeoutForControlPlane"] = json!(scaled(CHECK));
        } else {
            init["timeouts"] = timeouts();
        }
        self.write(vec![cluster, init, kubelet(), proxy()])
    }

    /// The YAML with which kubeadm writes the files of the kubelet of the worker at this address.
    pub(super) fn worker(&self, ip: IpAddr) -> Result<String> {
        // kubeadm takes an authority without its key for one of somebody else's, and asks for more of it.
        let elsewhere = json!({"kind": "ClusterConfiguration", "certificatesDir": "/kind/no-pki"});
        let authority = json!({"x509": {"clientCAFile": join::AUTHORITY}});
        let authority = json!({"kind": "KubeletConfiguration", "authentication": authority});
        // What the user changes of the control plane's node is not for workers.
        let theirs = self.patches.iter();
        let theirs = theirs.filter(|patch| patch["kind"] != "InitConfiguration");
        let first = iter::once(authority).chain(theirs.cloned());
        let patches: Vec<Value> = first.chain([elsewhere]).collect();
        let worker = Documents {
            patches: &patches,
            ..*self
        };
        worker.init(ip)
    }

    /// Whether the user changes how workers join.
    pub(super) fn changes_join(&self) -> bool {
        let mut patches = self.patches.iter();
        patches.any(|patch| patch["kind"] == "JoinConfiguration")
    }

    /// The YAML for `kubeadm join`, for the worker at this address.
    pub(super) fn join(&self, ip: IpAddr, discovery: &str) -> Result<String> {
        let mut join = json!({
            "kind": "JoinConfiguration",
            "discovery": {
                "file": {"kubeConfigPath": discovery},
                "tlsBootstrapToken": self.token,
            },
            "nodeRegistration": self.registration(ip),
        });
        if self.api() == Api::V1beta3 {
            join["discovery"]["timeout"] = json!(scaled(CHECK));
        } else {
            join["timeouts"] = timeouts();
        }
        self.write(vec![join])
    }

    /// The version that kubeadm reads. A node that does not report its release is expected to have
    /// the newest.
    fn api(&self) -> Api {
        compat::version(self.kubernetes).map_or(Api::V1beta4, |release| Api::of(&release))
    }

    fn registration(&self, ip: IpAddr) -> Value {
        json!({
            "criSocket": self.runtime.endpoint(),
            "kubeletExtraArgs": [{"name": "node-ip", "value": ip.to_string()}],
            // The control plane runs workloads too, so that one node is enough for a test.
            "taints": [],
        })
    }

    fn write(&self, documents: Vec<Value>) -> Result<String> {
        let api = self.api();
        let tuning = self.tuned.then(|| tuning::patches(api));
        let steps = self.tuned.then(|| [serving::patch(), volumes::patch()]);
        let ours = tuning.iter().flatten().chain(steps.iter().flatten());
        let patches = ours.chain(self.patches);
        let mut text = String::new();
        for mut document in documents {
            let kind = document["kind"].clone();
            document["apiVersion"] = match kind.as_str() {
                Some("KubeletConfiguration") => json!("kubelet.config.k8s.io/v1beta1"),
                Some("KubeProxyConfiguration") => json!("kubeproxy.config.k8s.io/v1alpha1"),
                _ => json!(api.to_string()),
            };
            if kind == "KubeletConfiguration" && self.allow_cgroup_v1 {
                document["failCgroupV1"] = json!(false);
            }
            for patch in patches.clone().filter(|patch| patch["kind"] == kind) {
                patch::apply(&mut document, patch);
            }
            if api == Api::V1beta3 {
                patch::map_arguments(&mut document);
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

/// A scaled deadline in kubeadm's format.
fn scaled(deadline: Duration) -> String {
    format!("{}s", wait::scaled(deadline).as_secs().max(1))
}

fn kubelet() -> Value {
    json!({
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "cgroupRoot": "/kubelet",
        "failSwapOn": false,
        // Side-loaded images are in no registry, so nothing may ever delete them. imageMaximumGCAge
        // is left at its default of 0, which means never, because kubelets before 1.29 do not know
        // it.
        "imageGCHighThresholdPercent": 100,
        // The kubelet refuses a low threshold that is not below the high one.
        "imageGCLowThresholdPercent": 80,
        // On a full disk the kubelet would delete images whatever the thresholds say. It derives
        // the signals of containerfs from these, and sets signals that are not listed to 0 itself.
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
        // Without a mode later releases choose another one by themselves.
        "mode": "iptables",
        // This limit belongs to the host's kernel, and a container may not set it.
        "conntrack": {"maxPerCore": 0},
    })
}

#[cfg(test)]
mod tests;
