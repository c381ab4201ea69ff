//! The cluster that Cluster API makes: a load balancer, a control plane, and a group of machines for
//! each side.

use std::time::Duration;

use anyhow::{Context, Result};
use kubenest::{
    Cluster,
    health::Expected,
    node::{FileEntry, Node},
    wait::{self, Probe},
};
use kubenest_fixtures::cluster_api::LoadBalancer;
use kubenest_health::doctor;
use serde_json::{Value, json};

use crate::place::{CRICTL, MANAGEMENT, Place};

/// Its name.
pub const NAME: &str = "workload";
/// Its kubeconfig in the management cluster's node.
pub const KUBECONFIG: &str = "/run/workload.conf";
/// The label of a node with the group of machines that it belongs to.
pub const GROUP: &str = "kubenest.dev/group";
/// The newest Kubernetes of a node image here that this Cluster API manages; see the README.
const KUBERNETES: &str = "v1.32.1";
/// Subnets that no layer around it uses.
const PODS: &str = "10.246.0.0/16";
const SERVICES: &str = "10.98.0.0/16";
/// Instances of inotify that a control plane and a worker take, with controllers on them.
const INSTANCES: u64 = 50;
/// kubeadm 1.32 puts IPv4 addresses in brackets to look for a proxy, which a Go of today refuses.
const IGNORED: [&str; 2] = ["HTTPProxy", "HTTPProxyCIDR"];
const SOCKET: &str = "/run/docker.sock";
/// How long a control plane and then workers may take, each.
const SLOW: Duration = Duration::from_secs(420);

/// A group of equal worker machines.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Flags of its kubelets, beside those of Cluster API.
    pub kubelet: Value,
    /// Images that Cluster API imports into its nodes before they join.
    pub images: Vec<String>,
}

impl Group {
    /// A group of this name whose nodes have these images, with these flags of its kubelets.
    pub fn new(name: &'static str, images: &[String], kubelet: Value) -> Self {
        Self {
            name,
            kubelet,
            images: images.to_vec(),
        }
    }
}

/// Has Cluster API make a cluster of one control plane and these groups of one machine each, and waits
/// until all nodes are Ready. The first group is the control plane.
///
/// # Errors
/// Cluster API refuses, or a node does not become Ready.
pub async fn make(place: &Place, groups: &[Group]) -> Result<Cluster> {
    let image = &place.management.image().reference;
    let (control_plane, workers) = groups.split_first().context("no control plane")?;
    let mut objects = cluster(image, control_plane);
    objects.extend(workers.iter().flat_map(|group| machines(image, group)));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    there_is_room().await?;
    place.tools.apply(MANAGEMENT, list.to_string()).await?;
    fetch_kubeconfig(place).await?;
    start_network(place).await?;
    let what = format!("{} Ready nodes", groups.len());
    let look = async || match ready_nodes(place).await {
        Ok(names) if names.len() == groups.len() => Probe::Ready(()),
        Ok(names) => Probe::Pending(names.join(" ")),
        Err(error) => Probe::Pending(format!("{error:#}")),
    };
    wait::until(&what, SLOW, look).await?;
    let docker = place.management.docker();
    Ok(Cluster::attach(docker, NAME, Expected::default()).await?)
}

/// The node of a group.
///
/// # Errors
/// There is none.
pub fn node_of<'a>(workload: &'a Cluster, group: &str) -> Result<&'a Node> {
    let start = format!("{NAME}-{group}-");
    let mut nodes = workload.nodes().iter();
    let found = nodes.find(|node| node.name().starts_with(&start));
    found.with_context(|| format!("no node of group '{group}'"))
}

/// Waits for room that no boot of kubenest's claims for these nodes: clusters of other tests end meanwhile.
async fn there_is_room() -> Result<()> {
    let look = async || match doctor::free_inotify_instances() {
        Some(free) if free < INSTANCES => Probe::Pending(format!("{free} of {INSTANCES} are free")),
        _ => Probe::Ready(()),
    };
    wait::until(
        "instances of inotify for a control plane and a worker",
        SLOW,
        look,
    )
    .await?;
    Ok(())
}

/// Waits for Cluster API to give the cluster's kubeconfig, and puts it into the management cluster's
/// node, from which the load balancer can be reached.
async fn fetch_kubeconfig(place: &Place) -> Result<()> {
    let look = async || {
        let args = ["get", "kubeconfig", NAME, "--kubeconfig", MANAGEMENT];
        match place.tools.clusterctl(&args).await {
            Ok(got) if got.status == 0 => Probe::Ready(got.text()),
            Ok(got) => Probe::Pending(got.stderr),
            Err(error) => Probe::Failed(error),
        }
    };
    let kubeconfig = wait::until("the cluster's kubeconfig", SLOW, look).await?;
    let file = FileEntry::new(KUBECONFIG, kubeconfig).with_mode(0o600);
    let node = place.management.control_plane();
    Ok(node.write_files(&[file]).await?)
}

/// Starts the pod network that comes with the node image, once the API server answers.
async fn start_network(place: &Place) -> Result<()> {
    let node = place.management.control_plane();
    let network = node.read_file("/kind/manifests/default-cni.yaml").await?;
    let network = String::from_utf8(network)?
        .replace("{{ .PodSubnet }}", PODS)
        .replace("10.96.0.0/16", SERVICES);
    let look = async || {
        let applied = place.tools.apply(KUBECONFIG, network.as_str()).await;
        Probe::from_result(applied.map_err(|error| error.report()))
    };
    wait::until("the cluster's API server", SLOW, look).await?;
    Ok(())
}

/// The names of the nodes that are Ready.
async fn ready_nodes(place: &Place) -> Result<Vec<String>> {
    let got = place
        .tools
        .kubectl(KUBECONFIG, &["get", "nodes", "--output=json"]);
    let nodes: Value = serde_json::from_str(&got.await?).context("kubectl's nodes")?;
    let is_ready = |node: &&Value| {
        let conditions = node["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let nodes = nodes["items"].as_array().into_iter().flatten();
    let names = nodes
        .filter(is_ready)
        .filter_map(|node| node["metadata"]["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// The cluster and its control plane.
fn cluster(image: &str, group: &Group) -> Vec<Value> {
    let meta = json!({"name": NAME, "namespace": "default"});
    let infrastructure = "infrastructure.cluster.x-k8s.io/v1beta1";
    let control_plane = "controlplane.cluster.x-k8s.io/v1beta1";
    let balancer = format!("{NAME}-load-balancer");
    let name = format!("{NAME}-{}", group.name);
    let registration = json!({"nodeRegistration": registration(group.name, &group.kubelet)});
    vec![
        json!({
            "apiVersion": infrastructure,
            "kind": "DockerCluster",
            "metadata": meta,
            "spec": {"loadBalancer": {
                "imageRepository": LoadBalancer::REPOSITORY,
                "imageTag": LoadBalancer::TAG,
                "customHAProxyConfigTemplateRef": {"name": balancer},
            }},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": balancer,
                "namespace": "default",
                // clusterctl moves nothing else that a Cluster does not own.
                "labels": {"clusterctl.cluster.x-k8s.io/move": ""},
            },
            "data": {"value": LoadBalancer::TEMPLATE},
        }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta1",
            "kind": "Cluster",
            "metadata": meta,
            "spec": {
                "clusterNetwork": {
                    "pods": {"cidrBlocks": [PODS]},
                    "services": {"cidrBlocks": [SERVICES]},
                    "serviceDomain": "cluster.local",
                },
                "controlPlaneRef":
                    {"apiVersion": control_plane, "kind": "KubeadmControlPlane", "name": name},
                "infrastructureRef":
                    {"apiVersion": infrastructure, "kind": "DockerCluster", "name": NAME},
            },
        }),
        template(&name, image, &group.images),
        json!({
            "apiVersion": control_plane,
            "kind": "KubeadmControlPlane",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "replicas": 1,
                "version": KUBERNETES,
                "machineTemplate": {"infrastructureRef": {
                    "apiVersion": infrastructure, "kind": "DockerMachineTemplate", "name": name,
                }},
                "kubeadmConfigSpec": {
                    "clusterConfiguration": {
                        "apiServer": {"certSANs": ["localhost", "127.0.0.1"]},
                    },
                    "initConfiguration": registration,
                    "joinConfiguration": registration,
                },
            },
        }),
    ]
}

/// A group of machines: how they are made, how they join, and how many there are.
fn machines(image: &str, group: &Group) -> Vec<Value> {
    let Group {
        name,
        kubelet,
        images,
    } = group;
    let bootstrap = "bootstrap.cluster.x-k8s.io/v1beta1";
    let infrastructure = "infrastructure.cluster.x-k8s.io/v1beta1";
    let meta = json!({"name": name, "namespace": "default"});
    vec![
        template(name, image, images),
        json!({
            "apiVersion": bootstrap,
            "kind": "KubeadmConfigTemplate",
            "metadata": meta,
            "spec": {"template": {"spec": {
                "joinConfiguration": {"nodeRegistration": registration(name, kubelet)},
            }}},
        }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta1",
            "kind": "MachineDeployment",
            "metadata": meta,
            "spec": {
                "clusterName": NAME,
                "replicas": 1,
                "selector": {"matchLabels": {}},
                "template": {"spec": {
                    "clusterName": NAME,
                    "version": KUBERNETES,
                    "bootstrap": {"configRef":
                        {"apiVersion": bootstrap, "kind": "KubeadmConfigTemplate", "name": name}},
                    "infrastructureRef":
                        {"apiVersion": infrastructure, "kind": "DockerMachineTemplate", "name": name},
                }},
            },
        }),
    ]
}

/// How containers of the node image become machines. Each has the engine's socket, because controllers
/// that were moved into the cluster make machines from there.
fn template(name: &str, image: &str, images: &[String]) -> Value {
    json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
        "kind": "DockerMachineTemplate",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {"spec": {
            "customImage": image,
            "preLoadImages": images,
            "extraMounts": [
                {"hostPath": SOCKET, "containerPath": SOCKET},
                {"hostPath": CRICTL, "containerPath": "/usr/local/bin/crictl", "readOnly": true},
            ],
        }}},
    })
}

/// How a node joins: with the label of its group and these flags of its kubelet.
fn registration(group: &str, kubelet: &Value) -> Value {
    let mut flags = json!({"node-labels": format!("{GROUP}={group}")});
    for (name, value) in kubelet.as_object().into_iter().flatten() {
        flags[name] = value.clone();
    }
    json!({"kubeletExtraArgs": flags, "ignorePreflightErrors": IGNORED})
}
