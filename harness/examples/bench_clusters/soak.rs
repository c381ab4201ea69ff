//! `soak`: many boots of kubenest's in a row, where each failure and each slow one is told.

use std::{fs, panic::AssertUnwindSafe, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use futures::{FutureExt, future::join_all};
use kubenest::ClusterSpec;
use serde::Serialize;

use crate::{
    bench::median,
    observe::cpu_seconds,
    reading::{Stage, stages},
    report,
    statistics::percentile,
};

/// From how many medians on a boot counts as slow.
const SLOW: f64 = 1.25;

/// Boots clusters with kubenest in a row and tells failed and slow boots
///
/// Each boot is measured from its begin to the first line of a test. A failed one is counted and
/// told with its evidence, and the next one begins; at the end the program fails.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many clusters are booted in all
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    boots: u32,
    /// How many of them begin at the same time; the next ones begin when all of these have ended
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=8))]
    at_once: u32,
    /// Nodes of each cluster
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    /// The node image of all
    #[arg(long, default_value = "v1.32.1-containerd-2.0.2")]
    recipe: String,
    /// Boot them as kubeadm does, without kubenest's measures for speed
    #[arg(long)]
    as_kubeadm: bool,
    /// A change of kubeadm's documents, as YAML; can be given more than once
    #[arg(long, value_name = "YAML")]
    patch: Vec<String>,
    /// TOML that changes the configuration of containerd; can be repeated
    #[arg(long, value_name = "TOML")]
    containerd_patch: Vec<String>,
    /// Also write all boots here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One boot, failed or not.
#[derive(Debug, Serialize)]
struct Boot {
    number: u32,
    /// To the first line of a test, or until it failed.
    seconds: f64,
    /// CPU time of the nodes until then.
    cpu_seconds: f64,
    /// Why it failed, and where the evidence is.
    failure: Option<String>,
    stages: Vec<Stage>,
}

/// What was measured of a boot that did not fail.
struct Measured {
    seconds: f64,
    cpu_seconds: f64,
    stages: Vec<Stage>,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let mut boots: Vec<Boot> = Vec::new();
    let mut begun = 0;
    while begun < args.boots {
        let last = args.boots.min(begun + args.at_once);
        let group = (begun + 1..=last).map(|number| boot(args, number));
        for boot in join_all(group).await {
            println!("{}", boot.line());
            boots.push(boot);
        }
        begun = last;
        // After each group, so that an interruption loses nothing.
        if let Some(path) = &args.json {
            fs::write(path, serde_json::to_vec_pretty(&boots)?)
                .with_context(|| format!("write '{}'", path.display()))?;
        }
    }
    print!("{}", summary(&boots));
    match boots.iter().filter(|boot| boot.failure.is_some()).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} boots failed", boots.len()),
    }
}

/// Boots a cluster, enters a case and removes the cluster; a panic is a failure too.
async fn boot(args: &Args, number: u32) -> Boot {
    let start = Instant::now();
    let attempt = AssertUnwindSafe(Box::pin(attempt(args, start))).catch_unwind();
    let why = match attempt.await {
        Ok(Ok(measured)) => return Boot::passed(number, measured),
        Ok(Err(error)) => report(&error),
        Err(_) => "it panicked, as told above".to_owned(),
    };
    Boot {
        number,
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: 0.0,
        failure: Some(why),
        stages: Vec::new(),
    }
}

async fn attempt(args: &Args, start: Instant) -> Result<Measured> {
    let workers = usize::from(args.nodes) - 1;
    let mut spec = ClusterSpec::with_workers(workers).with_recipe(&args.recipe)?;
    if args.as_kubeadm {
        spec = spec.as_kubeadm();
    }
    for patch in &args.patch {
        spec = spec.with_kubeadm_patch(patch)?;
    }
    for patch in &args.containerd_patch {
        spec = spec.with_containerd_patch(patch)?;
    }
    let cluster = spec.boot().await?;
    let measured = cluster
        .case(async |case| {
            Ok(Measured {
                seconds: start.elapsed().as_secs_f64(),
                cpu_seconds: cpu_seconds(case.cluster().nodes()).await?,
                stages: stages(case.cluster()),
            })
        })
        .await?;
    cluster.down().await?;
    Ok(measured)
}

impl Boot {
    fn passed(number: u32, measured: Measured) -> Self {
        let Measured {
            seconds,
            cpu_seconds,
            stages,
        } = measured;
        Self {
            number,
            seconds,
            cpu_seconds,
            failure: None,
            stages,
        }
    }

    fn line(&self) -> String {
        let Self {
            number,
            seconds,
            cpu_seconds,
            ..
        } = self;
        match &self.failure {
            Some(why) => format!("boot {number}: FAILED after {seconds:.1} s: {why}"),
            None => format!(
                "boot {number}: {seconds:.1} s, {cpu_seconds:.1} s of CPU time ({})",
                list(&self.stages)
            ),
        }
    }
}

/// How many boots failed, how long the others took, and those that were slow.
fn summary(boots: &[Boot]) -> String {
    let passed = || boots.iter().filter(|boot| boot.failure.is_none());
    let failed = boots.len() - passed().count();
    let mut text = format!("{} boots, {failed} failed\n", boots.len());
    if passed().count() == 0 {
        return text;
    }
    let seconds = || passed().map(|boot| boot.seconds);
    let half = median(seconds());
    let cpu = median(passed().map(|boot| boot.cpu_seconds));
    let most = [95, 100].map(|percent| percentile(percent, seconds()));
    let limit = half * SLOW;
    let slow: Vec<_> = passed().filter(|boot| boot.seconds > limit).collect();
    text += &format!(
        "first line of a test: p50 {half:.1} s, p95 {:.1} s ({:.2} of p50), max {:.1} s\n\
         nodes' CPU time until then: p50 {cpu:.1} s\n\
         slower than {SLOW} times p50, {limit:.1} s: {} boots\n",
        most[0],
        most[0] / half,
        most[1],
        slow.len()
    );
    slow.iter()
        .for_each(|boot| text += &format!("  {}\n", boot.line()));
    text
}

/// As "containers 2.3, init 7.2", without what took no time.
fn list(stages: &[Stage]) -> String {
    let long = stages.iter().filter(|stage| stage.seconds >= 0.05);
    let words = long.map(|stage| format!("{} {:.1}", stage.name, stage.seconds));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(number: u32, seconds: f64, failure: Option<&str>) -> Boot {
        let stage = |name: &str, seconds| Stage {
            name: name.into(),
            seconds,
        };
        Boot {
            number,
            seconds,
            cpu_seconds: 7.0,
            failure: failure.map(str::to_owned),
            stages: vec![stage("image", 0.0), stage("init", seconds)],
        }
    }

    #[test]
    fn failed_and_slow_boots_are_told() {
        let boots = [
            boot(1, 10.0, None),
            boot(2, 10.4, None),
            boot(3, 95.0, Some("no DNS\nevidence: /tmp/a")),
            boot(4, 9.8, None),
            boot(5, 14.0, None),
        ];
        let lines: Vec<_> = boots.iter().map(Boot::line).collect();
        insta::assert_snapshot!(lines.join("\n") + "\n" + &summary(&boots), @r"
        boot 1: 10.0 s, 7.0 s of CPU time (init 10.0)
        boot 2: 10.4 s, 7.0 s of CPU time (init 10.4)
        boot 3: FAILED after 95.0 s: no DNS
        evidence: /tmp/a
        boot 4: 9.8 s, 7.0 s of CPU time (init 9.8)
        boot 5: 14.0 s, 7.0 s of CPU time (init 14.0)
        5 boots, 1 failed
        first line of a test: p50 10.2 s, p95 14.0 s (1.37 of p50), max 14.0 s
        nodes' CPU time until then: p50 7.0 s
        slower than 1.25 times p50, 12.8 s: 1 boots
          boot 5: 14.0 s, 7.0 s of CPU time (init 14.0)
        ");
    }

    #[test]
    fn without_one_boot_there_are_no_times() {
        assert_eq!(summary(&[boot(1, 3.0, Some("x"))]), "1 boots, 1 failed\n");
    }
}
