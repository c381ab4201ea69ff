//! A boot observed from outside, as a user with the administrator's kubeconfig would.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use kubenest::{
    cluster::probe_pod,
    engine::Docker,
    k8s_openapi::api::core::v1::{Node as KubeNode, Pod},
    kube::{Api, Client, Config, api::PostParams, config::Kubeconfig},
    node::{Node, Role},
    wait::Probe,
};
use kubenest_base::wait;
use kubenest_node::objects;

use crate::reading::Reading;

const DEADLINE: Duration = Duration::from_secs(240);

/// A number of the node's own cgroup, with its unit for cgroup v1 and v2.
const PEAK_MEMORY: &str = "cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes 2>/dev/null \
     || cat /sys/fs/cgroup/memory.peak";
/// Without what is only cached.
const USED_MEMORY: &str = "cat /sys/fs/cgroup/memory/memory.stat /sys/fs/cgroup/memory.stat \
     2>/dev/null | awk '$1 == \"total_rss\" || $1 == \"anon\" {print $2}'";
const CPU_NANOSECONDS: &str = "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null \
     || awk '/usage_usec/ {print $2 * 1000}' /sys/fs/cgroup/cpu.stat";

/// Observes a boot until each of its nodes, the control plane first, has a Ready pod.
pub(crate) async fn observe(
    docker: &Docker,
    containers: &[String],
    start: Instant,
) -> Result<Reading> {
    let mut reading = Reading::default();
    let control_plane = containers.first().context("a cluster needs a node")?;
    let client = wait::until("the API server", DEADLINE, async || {
        match admin(docker, control_plane).await {
            Ok(client) => Probe::Ready(client),
            Err(error) => Probe::Pending(format!("{error:#}")),
        }
    })
    .await?;
    reading.api_ready_seconds = start.elapsed().as_secs_f64();
    let ready = containers.iter().map(|name| node_ready(&client, name));
    try_join_all(ready).await?;
    reading.node_ready_seconds = start.elapsed().as_secs_f64();
    objects::default_service_account(&client, "default", DEADLINE).await?;
    let nodes = attach(docker, containers).await?;
    try_join_all(nodes.iter().map(|node| run_pod(&client, node))).await?;
    reading.pod_ready_seconds = start.elapsed().as_secs_f64();
    reading.node_cpu_seconds = cpu_seconds(&nodes).await?;
    Ok(reading)
}

pub(crate) async fn attach(docker: &Docker, containers: &[String]) -> Result<Vec<Node>> {
    let attached = containers.iter().enumerate().map(|(at, name)| {
        let role = if at == 0 {
            Role::ControlPlane
        } else {
            Role::Worker
        };
        Node::attach(docker, name, role)
    });
    Ok(try_join_all(attached).await?)
}

/// CPU time of these nodes so far.
pub(crate) async fn cpu_seconds(nodes: &[Node]) -> Result<f64> {
    Ok(sum(nodes, CPU_NANOSECONDS).await? / 1e9)
}

/// The sum of these nodes' peaks of memory.
pub(crate) async fn peak_mib(nodes: &[Node]) -> Result<f64> {
    Ok(sum(nodes, PEAK_MEMORY).await? / (1024.0 * 1024.0))
}

/// The memory that these nodes use, without what is only cached.
pub(crate) async fn used_mib(nodes: &[Node]) -> Result<f64> {
    Ok(sum(nodes, USED_MEMORY).await? / (1024.0 * 1024.0))
}

/// Peak resident memory of a process of this machine, in MiB; 0 when it is gone.
pub(crate) fn process_peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// The process of this name whose arguments name this cluster.
pub(crate) fn pid_of(program: &str, argument: &str) -> Option<u32> {
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let name = words.next()?;
            (name.ends_with(&format!("/{program}")) && words.any(|word| word == argument))
                .then_some(pid)
        })
}

async fn node_ready(client: &Client, name: &str) -> Result<()> {
    let nodes = Api::<KubeNode>::all(client.clone());
    objects::until(nodes, name, "the node", DEADLINE, |node| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        match conditions.any(|c| c.type_ == "Ready" && c.status == "True") {
            true => Probe::Ready(()),
            false => Probe::Pending("not Ready".into()),
        }
    })
    .await?;
    Ok(())
}

/// Creates a pod on a node, of an image that the node has, and waits until it is Ready.
async fn run_pod(client: &Client, node: &Node) -> Result<()> {
    let name = format!("bench-{}", node.name());
    let pod = probe_pod(node, &name).await?;
    Api::<Pod>::namespaced(client.clone(), "default")
        .create(&PostParams::default(), &pod)
        .await?;
    objects::pod_ready(client, "default", &name, DEADLINE).await?;
    Ok(())
}

async fn admin(docker: &Docker, container: &str) -> Result<Client> {
    let state = docker
        .container(container)
        .await?
        .context("no container yet")?;
    let port = state.ports.get(&6443).context("no port yet")?;
    let admin = docker
        .exec_ok(container, &["cat", "/etc/kubernetes/admin.conf"], None)
        .await?;
    let mut kubeconfig = Kubeconfig::from_yaml(&admin.text())?;
    for cluster in kubeconfig
        .clusters
        .iter_mut()
        .filter_map(|c| c.cluster.as_mut())
    {
        cluster.server = Some(format!("https://127.0.0.1:{port}"));
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    let client = Client::try_from(config)?;
    // Ready to serve this user, whose rights come a moment after the first answer.
    let nodes = http::Request::get("/api/v1/nodes").body(Vec::new())?;
    client.request_text(nodes).await?;
    Ok(client)
}

async fn sum(nodes: &[Node], script: &str) -> Result<f64> {
    let numbers = nodes.iter().map(async |node| {
        let said = node.exec_ok(&["bash", "-c", script]).await?;
        let number: f64 = said.text().trim().parse()?;
        anyhow::Ok(number)
    });
    Ok(try_join_all(numbers).await?.into_iter().sum())
}
