//! `suite`: sixty tests of an operator, on kubenest's leases and on a cluster of kind's.
//!
//! | file | does |
//! | --- | --- |
//! | `body.rs` | what every test does, whoever made its cluster |
//! | `kubenest.rs`, `kind.rs` | the cluster and a namespace for each test |
//! | `result.rs` | the measurements, as a table |

mod body;
mod kind;
mod kubenest;
mod result;

use std::time::Instant;

use ::kubenest::{
    engine::{self, Docker},
    recipe::{NodeImage, Recipe},
};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kubenest_fixtures::kind::Kind;

use self::{
    body::Body,
    result::{Measurement, SuiteRun, TestRun},
};
use crate::bench::Options;

/// Runs the same tests on kubenest's leases, on a cluster of kind's, and with a cluster for each
///
/// Every test applies objects, waits for a pod, reads its log and deletes them, with the same code
/// on every side. On kind's cluster each has a namespace made by hand, waits for its service account
/// and never for the namespace's end. Cold counts the boot; warm is the same once more on the cluster
/// that is up. What is outside the bodies is a test's own cost.
#[derive(clap::Args)]
#[command(mut_arg("rounds", |rounds| rounds.default_value("1")))]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// How many tests there are
    #[arg(long, default_value = "60")]
    tests: usize,
    /// How many of them also run with a cluster of their own
    #[arg(long, default_value = "10")]
    own: usize,
    /// How many run at a time; can be given more than once
    #[arg(long, default_values = ["1", "4"], value_parser = clap::value_parser!(u8).range(1..=16))]
    at_once: Vec<u8>,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    ensure!(args.own <= args.tests, "--own is at most --tests");
    let docker = engine::find().await?;
    let recipe = Recipe::named(&args.options.recipe)?;
    let image = NodeImage::ensure(&docker, &recipe).await?;
    let kind = Kind::release(&args.options.kind).await?;
    let mut measurement = Measurement::new(kind.version(), args.tests);
    for round in 0..args.options.rounds.get() {
        for &at_once in &args.at_once {
            let ours = kubenest::Lease::new(&docker, &args.options.recipe)?;
            measurement.add("kubenest", &run_twice(&ours, args, at_once).await?);
            ours.remove().await?;
            let kinds = kind::KindCluster::new(&docker, &kind, &image.reference)?;
            let ran = run_twice(&kinds, args, at_once).await;
            kinds.remove().await?;
            measurement.add("kind", &ran?);
        }
        if round == 0 && args.own > 0 {
            measurement.own = Some(run_own(&docker, args).await?);
        }
    }
    args.options.write_json(&measurement)?;
    print!("{}", measurement.table());
    Ok(())
}

/// One way to give tests a cluster.
trait Side {
    /// Makes the cluster, if it is not there.
    async fn boot(&self) -> Result<()>;
    /// Runs one test in a namespace of its own, and returns the seconds of its body.
    async fn test(&self, body: &Body) -> Result<f64>;
}

/// A suite on a cluster that is booted for it, and once more.
async fn run_twice(side: &impl Side, args: &Args, at_once: u8) -> Result<[SuiteRun; 2]> {
    let cold = run_suite(side, args.tests, at_once, false).await?;
    let warm = run_suite(side, args.tests, at_once, true).await?;
    Ok([cold, warm])
}

async fn run_suite(side: &impl Side, tests: usize, at_once: u8, is_warm: bool) -> Result<SuiteRun> {
    let begin = Instant::now();
    side.boot().await.context("boot")?;
    let tests = stream::iter(0..tests).map(async |number| {
        let begin = Instant::now();
        let body = side.test(&Body::new(number)).await;
        let body = body.with_context(|| format!("test {number}"))?;
        let seconds = begin.elapsed().as_secs_f64();
        anyhow::Ok(TestRun { seconds, body })
    });
    let tests = tests.buffer_unordered(at_once.into()).try_collect().await?;
    Ok(SuiteRun {
        at_once,
        is_warm,
        seconds: begin.elapsed().as_secs_f64(),
        tests,
    })
}

/// The first tests, each with a cluster of its own.
async fn run_own(docker: &Docker, args: &Args) -> Result<SuiteRun> {
    let own = kubenest::Own::new(docker, &args.options.recipe)?;
    run_suite(&own, args.own, 1, false).await
}
