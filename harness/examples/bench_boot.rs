//! kubenest's cold boot beside `kind create cluster`, on the same node image, in turns.
//!
//! Both are watched from outside by the same observer: API ready, node Ready, and a fresh
//! pod of a preloaded image Ready. `cargo xtask bench boot --help` tells the options.
#![expect(clippy::print_stdout, reason = "a program for people")]

mod bench;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bench::{Options, median};
use clap::Parser;
use kubenest::{
    ClusterSpec,
    cluster::probe_pod,
    engine::Docker,
    k8s_openapi::api::core::v1::{Node as KubeNode, Pod},
    kube::{Api, Client, Config, api::PostParams, config::Kubeconfig},
    node::{Node, Role},
    recipe::{NodeImage, Recipe},
    telemetry,
    wait::Probe,
};
use kubenest_base::wait;
use kubenest_docker as docker;
use kubenest_docker::Scope;
use kubenest_fixtures::kind::Kind;
use kubenest_node::objects;
use serde::Serialize;

const DEADLINE: Duration = Duration::from_secs(240);

/// Boots clusters with kubenest and with kind, in turns, and compares medians.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench boot")]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// One boot.
#[derive(Debug, Clone, Default, Serialize)]
struct Reading {
    api_ready_seconds: f64,
    node_ready_seconds: f64,
    pod_ready_seconds: f64,
    done_seconds: f64,
    node_peak_mib: f64,
    node_cpu_seconds: f64,
    own_peak_mib: f64,
}

type Field = (&'static str, fn(&Reading) -> f64);

const FIELDS: [Field; 7] = [
    ("API ready, s", |r| r.api_ready_seconds),
    ("node Ready, s", |r| r.node_ready_seconds),
    ("first pod Ready, s", |r| r.pod_ready_seconds),
    ("command done, s", |r| r.done_seconds),
    ("node's peak memory, MiB", |r| r.node_peak_mib),
    ("node's CPU, s", |r| r.node_cpu_seconds),
    ("own peak memory, MiB", |r| r.own_peak_mib),
];

#[tokio::main]
async fn main() -> Result<()> {
    telemetry::start();
    let Cli { options } = Cli::parse();
    let docker = kubenest::engine::find().await?;
    let image = NodeImage::ensure(&docker, &Recipe::named(&options.recipe)?).await?;
    let kind = Kind::release(&options.kind).await?;
    let mut readings: BTreeMap<&str, Vec<Reading>> = BTreeMap::new();
    for round in 1..=options.rounds.get() {
        let ours = Box::pin(boot_ours(&docker, &options.recipe)).await?;
        show(round, "kubenest", &ours);
        readings.entry("kubenest").or_default().push(ours);
        let kinds = Box::pin(boot_kinds(&docker, &kind, &image.reference)).await?;
        show(round, "kind", &kinds);
        readings.entry("kind").or_default().push(kinds);
    }
    println!(
        "| median of {} | kubenest | kind v{} | ratio |",
        options.rounds, options.kind
    );
    println!("| --- | --- | --- | --- |");
    for (name, field) in FIELDS {
        let of = |who: &str| median(readings[who].iter().map(field));
        let (ours, kinds) = (of("kubenest"), of("kind"));
        println!("| {name} | {ours:.1} | {kinds:.1} | {:.2} |", ours / kinds);
    }
    options.write_json(&readings)
}

fn show(round: usize, who: &str, reading: &Reading) {
    println!(
        "round {round}: {who} {:.1} s to the first pod",
        reading.pod_ready_seconds
    );
}

async fn boot_ours(docker: &Docker, recipe: &str) -> Result<Reading> {
    let name = "bench-kubenest";
    let start = Instant::now();
    let spec = ClusterSpec::single_node()
        .with_name(name)
        .with_recipe(recipe)?;
    let boot = async {
        let cluster = spec.boot().await?;
        Ok((start.elapsed(), cluster))
    };
    let (booted, observed) =
        tokio::join!(boot, observe(docker, "bench-kubenest-control-plane", start));
    let (done, cluster) = booted.map_err(|error: kubenest::Error| error)?;
    let mut reading = observed?;
    reading.done_seconds = done.as_secs_f64();
    reading.own_peak_mib = peak_mib(std::process::id());
    cluster.down().await?;
    Ok(reading)
}

async fn boot_kinds(docker: &Docker, kind: &Kind, image: &str) -> Result<Reading> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    let start = Instant::now();
    let create = async {
        let mut peak: f64 = 0.0;
        let watch = async {
            loop {
                if let Some(pid) = pid_of("kind", "bench-kind") {
                    peak = peak.max(peak_mib(pid));
                }
                wait::pace(Duration::from_millis(200)).await;
            }
        };
        let created = tokio::select! {
            created = kind.create(docker, "bench-kind", image, &kubeconfig) => created,
            () = watch => unreachable!("the watch has no end"),
        };
        created.map(|_| (start.elapsed(), peak))
    };
    let (created, observed) =
        tokio::join!(create, observe(docker, "bench-kind-control-plane", start));
    let outcome = async {
        let (done, peak) = created?;
        let mut reading = observed?;
        reading.done_seconds = done.as_secs_f64();
        reading.own_peak_mib = peak;
        anyhow::Ok(reading)
    };
    let outcome = outcome.await;
    docker::sweep(docker, Scope::Cluster("bench-kind")).await?;
    outcome
}

/// Watches a boot from outside, as a user with the administrator's kubeconfig would.
async fn observe(docker: &Docker, container: &str, start: Instant) -> Result<Reading> {
    let mut reading = Reading::default();
    let client = wait::until("the API server", DEADLINE, async || {
        match admin(docker, container).await {
            Ok(client) => Probe::Ready(client),
            Err(error) => Probe::Pending(format!("{error:#}")),
        }
    })
    .await?;
    reading.api_ready_seconds = start.elapsed().as_secs_f64();
    let nodes = Api::<KubeNode>::all(client.clone());
    objects::until(nodes, container, "the node", DEADLINE, |node| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        match conditions.any(|c| c.type_ == "Ready" && c.status == "True") {
            true => Probe::Ready(()),
            false => Probe::Pending("not Ready".into()),
        }
    })
    .await?;
    reading.node_ready_seconds = start.elapsed().as_secs_f64();
    let node = Node::attach(docker, container, Role::ControlPlane).await?;
    objects::default_service_account(&client, "default", DEADLINE).await?;
    let pod = probe_pod(&node, "bench").await?;
    Api::<Pod>::namespaced(client.clone(), "default")
        .create(&PostParams::default(), &pod)
        .await?;
    objects::pod_ready(&client, "default", "bench", DEADLINE).await?;
    reading.pod_ready_seconds = start.elapsed().as_secs_f64();
    let mib = 1024.0 * 1024.0;
    reading.node_peak_mib = cgroup(&node, PEAK_MEMORY).await? / mib;
    reading.node_cpu_seconds = cgroup(&node, CPU_NANOSECONDS).await? / 1e9;
    Ok(reading)
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

/// A number of the node's own cgroup, with its unit for cgroup v1 and v2.
const PEAK_MEMORY: &str = "cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes 2>/dev/null \
     || cat /sys/fs/cgroup/memory.peak";
const CPU_NANOSECONDS: &str = "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null \
     || awk '/usage_usec/ {print $2 * 1000}' /sys/fs/cgroup/cpu.stat";

async fn cgroup(node: &Node, script: &str) -> Result<f64> {
    Ok(node
        .exec_ok(&["bash", "-c", script])
        .await?
        .text()
        .trim()
        .parse()?)
}

/// Peak resident memory of a process of this machine, in MiB; 0 when it is gone.
fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// The process of this name whose arguments name this cluster.
fn pid_of(program: &str, argument: &str) -> Option<u32> {
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
