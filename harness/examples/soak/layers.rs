//! Kills at any layer of nested clusters, again and again: after a clean-up nothing may be left at any
//! layer.
//!
//! The process that holds the layers says `up NAME` of each, the outermost first.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use kubenest::Cluster;
use kubenest_base::wait::{self, Probe};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

use crate::{
    faults::send,
    place::{Engine, Place},
    schedule::Random,
};

/// The holder of layers as a victim.
const HOLDER: &str = "the process that boots them";
/// Programs of each layer that are killed, as the kernel calls them.
const VICTIMS: [&str; 5] = [
    "systemd",
    "containerd",
    "dockerd",
    "kubelet",
    "kube-apiserver",
];
/// How long a layer may take to boot.
const BOOT: Duration = Duration::from_secs(300);
/// How long the end of all layers may take.
const ENDS: Duration = Duration::from_secs(120);

/// Kills processes of nested clusters, each time followed by a look for what is left
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is killed when is the same for the same seed
    #[arg(long)]
    seed: Option<u64>,
    /// How many times
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// The node image of all layers
    #[arg(long, default_value = "v1.32.1-containerd-2.0.2")]
    recipe: String,
}

/// Boots layers and holds them, until it is killed
#[derive(clap::Args)]
pub(crate) struct Holder {
    #[command(flatten)]
    engine: Engine,
    /// How many clusters stand in each other
    #[arg(long)]
    layers: usize,
}

pub(crate) async fn hold(args: &Holder) -> Result<()> {
    let (docker, spec) = args.engine.open().await?;
    let first = spec.clone().with_engine(&docker).boot().await?;
    println!("up {}", first.name());
    let mut layers = vec![first];
    for _ in 1..args.layers {
        let around: &Cluster = layers.last().context("there is no layer")?;
        layers.push(Box::pin(around.nest(&spec)).await?);
        println!("up {}", layers[layers.len() - 1].name());
    }
    std::future::pending().await
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(Random::seed);
    println!(
        "seed {seed}: `cargo xtask soak layers --seed {seed} --kills {}` repeats it",
        args.kills
    );
    let place = Place::make(&args.recipe).await?;
    let ended = tokio::select! {
        ended = kill_all(&place, seed, args.kills) => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    place.store.remove().await?;
    let killed = ended?;
    fs::remove_dir_all(&place.root)?;
    println!("killed, each followed by a clean-up that left nothing:");
    for (victim, times) in killed {
        println!("  {times} x {victim}");
    }
    Ok(())
}

/// Returns how often what was killed.
async fn kill_all(place: &Place, seed: u64, kills: u32) -> Result<BTreeMap<String, u32>> {
    let mut random = Random::of(seed);
    let mut killed = BTreeMap::<String, u32>::new();
    for number in 1..=kills {
        let round = Round {
            layers: 2 + usize::from(random.below(3) == 0),
            before: random.below(3),
            after: Duration::from_millis(random.below(12_000)),
            pick: random.below(1 << 16),
            alive: Duration::from_millis(random.below(3_000)),
        };
        let victim = round.run(place, number).await;
        let victim = victim.with_context(|| format!("kill {number} of seed {seed}"))?;
        println!("{number:3}  {victim}: nothing is left");
        *killed.entry(victim).or_default() += 1;
    }
    Ok(killed)
}

/// One kill.
struct Round {
    layers: usize,
    /// How many layers are up before the time runs.
    before: u64,
    /// How long after that the victim is killed.
    after: Duration,
    /// Chooses the victim among what runs then.
    pick: u64,
    /// How long the holder outlives it.
    alive: Duration,
}

impl Round {
    /// Returns what was killed.
    async fn run(&self, place: &Place, number: u32) -> Result<String> {
        let layers = self.layers.to_string();
        let log = place.root.join(format!("logs/layers-{number}.log"));
        let mut holder = place.spawn("hold", 0, &log, &["--layers", &layers])?;
        let said = holder.stdout.take().context("it has no output")?;
        self.until_due(&mut BufReader::new(said).lines(), &log)
            .await?;
        let node = self.outermost(place).await?;
        let victim = self.kill(&mut holder, node.as_deref()).await?;
        wait::pace(self.alive).await;
        // It may have ended with what it held.
        holder.start_kill().ok();
        holder.wait().await?;
        let what = || format!("after the end of {victim}");
        nothing_is_left(place, node.as_deref())
            .await
            .with_context(what)?;
        Ok(victim)
    }

    /// Waits until it is time for the kill.
    async fn until_due(&self, said: &mut Lines<BufReader<ChildStdout>>, log: &Path) -> Result<()> {
        let before = usize::try_from(self.before)?.min(self.layers - 1);
        for _ in 0..before {
            let line = wait::at_most(BOOT, said.next_line()).await;
            let Some(line) = line.context("a layer does not boot")?? else {
                bail!("no layer: {}", fs::read_to_string(log)?);
            };
            ensure!(line.starts_with("up "), "{line}");
        }
        wait::pace(self.after).await;
        Ok(())
    }

    /// The id of the outermost node, if it is there already.
    async fn outermost(&self, place: &Place) -> Result<Option<String>> {
        let format = ["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"];
        let nodes = place.docker_says(&format).await?;
        let mut nodes = nodes.lines().filter_map(|line| line.split_once(' '));
        let found = nodes.find(|(_, name)| name.ends_with("-control-plane"));
        Ok(found.map(|(id, _)| id.to_owned()))
    }

    /// Kills one of the holder and what runs in its node, and returns its name with its layer.
    async fn kill(&self, holder: &mut Child, node: Option<&str>) -> Result<String> {
        let mut victims = node.map(victims).unwrap_or_default();
        victims.insert(HOLDER.to_owned(), 0);
        let index = usize::try_from(self.pick)? % victims.len();
        let picked = victims.into_iter().nth(index);
        let (name, pid) = picked.context("there is a victim")?;
        match pid {
            0 => holder.start_kill()?,
            pid => ensure!(send(pid, Signal::SIGKILL), "{name} has ended before"),
        }
        Ok(name)
    }
}

/// The processes in this container that can be killed, by name and layer. How many namespaces of
/// processes one is in tells its layer: a node and a pod are one more each.
fn victims(container: &str) -> BTreeMap<String, i32> {
    let mut found = BTreeMap::new();
    for pid in processes_of(container) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let name = field("Name:").unwrap_or_default().trim();
        let namespaces = field("NSpid:")
            .unwrap_or_default()
            .split_whitespace()
            .count();
        if VICTIMS.contains(&name) && namespaces >= 2 {
            let layer = namespaces / 2;
            found
                .entry(format!("{name} of layer {layer}"))
                .or_insert(pid);
        }
    }
    found
}

/// The processes of this machine in the cgroup of a container and below, the oldest first.
fn processes_of(container: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &i32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        groups.is_ok_and(|groups| groups.contains(container))
    };
    let mut pids: Vec<i32> = pids.filter(has).collect();
    pids.sort_unstable();
    pids
}

/// Cleans up as `kubenest clean` does when everything had time to end, and looks what is left then.
async fn nothing_is_left(place: &Place, node: Option<&str>) -> Result<()> {
    let look = async || match place.listed().await {
        Ok(left) if left.is_empty() => Probe::Ready(()),
        Ok(left) => Probe::Pending(left.join(", ")),
        Err(error) => Probe::Pending(format!("{error:#}")),
    };
    // A victim may be what would have cleaned up: then the sweep has to.
    let gone = wait::until("the end of all layers", ENDS, look).await;
    if let Err(error) = gone {
        println!("{}", error.report());
    }
    let swept = place.clean(0).await?;
    let mut left = place.listed().await?;
    left.extend(place.files_left(0));
    if let Some(node) = node {
        let processes = processes_of(node).into_iter();
        left.extend(processes.map(|pid| format!("process {pid}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mounts = mounts.lines().filter(|line| line.contains(node));
        left.extend(mounts.map(|line| format!("mount {line}")));
    }
    ensure!(
        left.is_empty(),
        "left over: {} (swept {swept:?})",
        left.join(", ")
    );
    Ok(())
}
