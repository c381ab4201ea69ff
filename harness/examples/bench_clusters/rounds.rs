//! `boot`: kubenest's boots beside kind's, in turns, as a table, a picture and a comparison.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use futures::future::join_all;
use kubenest::{
    engine::Docker,
    recipe::{NodeImage, Recipe},
};
use kubenest_fixtures::kind::Kind;

use crate::{
    bench::Options,
    boots, compare, picture,
    reading::{Measurement, Reading, Setup},
    table::table,
};

/// Boots clusters with kubenest and with kind, in turns, and compares them
///
/// Both are observed from outside by the same observer: API ready, every node Ready, and a fresh
/// pod of a preloaded image Ready on every node. A test's first line is the first one of a case
/// that follows `boot()`; with kind it is the end of `kind create cluster` or the first Ready pod,
/// whichever is later.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Nodes of each cluster
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    /// How many clusters are booted at the same time, by the same program
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..=8))]
    at_once: u8,
    /// Draw the median boot of each here, stage by stage, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Fail if a measure of kubenest's took a step back against this file of --json that is no
    /// noise: more than 5 % of the median, and more than twice the median distance of a boot from
    /// its run's median
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Measure nothing, but show this file of --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rounds", "recipe", "kind", "nodes", "at_once", "json"])]
    from: Option<PathBuf>,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let measurement = match &args.from {
        Some(path) => Measurement::read(path)?,
        None => measure(args).await?,
    };
    print!("{}", table(&measurement));
    if let Some(path) = &args.picture {
        let drawn = picture::of(&measurement);
        fs::write(path, drawn).with_context(|| format!("write '{}'", path.display()))?;
    }
    match &args.compare {
        Some(path) => compare::against(path, &measurement),
        None => Ok(()),
    }
}

async fn measure(args: &Args) -> Result<Measurement> {
    let options = &args.options;
    let docker = kubenest::engine::find().await?;
    let image = NodeImage::ensure(&docker, &Recipe::named(&options.recipe)?).await?;
    let kind = Kind::release(&options.kind).await?;
    let mut measurement = Measurement {
        kind_version: kind.version().to_owned(),
        setup: Setup {
            recipe: options.recipe.clone(),
            nodes: args.nodes.into(),
            at_once: args.at_once.into(),
        },
        kubenest: Vec::new(),
        kind: Vec::new(),
    };
    for round in 1..=options.rounds.get() {
        // Each goes first in half of the rounds.
        let ours_first = round % 2 == 1;
        for ours in [ours_first, !ours_first] {
            let setup = measurement.setup.clone();
            let got = match ours {
                true => boot_kubenests(&docker, &setup).await?,
                false => boot_kinds(&docker, &kind, &image.reference, &setup).await?,
            };
            show(round, ours, &got);
            match ours {
                true => measurement.kubenest.extend(got),
                false => measurement.kind.extend(got),
            }
        }
        // After each round, so that a failure later on loses nothing.
        options.write_json(&measurement)?;
    }
    Ok(measurement)
}

async fn boot_kubenests(docker: &Docker, setup: &Setup) -> Result<Vec<Reading>> {
    let boots = (1..=setup.at_once).map(|number| boots::kubenest(docker, setup, number));
    // All end by themselves: each removes its cluster.
    join_all(boots).await.into_iter().collect()
}

async fn boot_kinds(
    docker: &Docker,
    kind: &Kind,
    image: &str,
    setup: &Setup,
) -> Result<Vec<Reading>> {
    let boots = (1..=setup.at_once).map(|number| boots::kind(docker, kind, image, setup, number));
    join_all(boots).await.into_iter().collect()
}

fn show(round: usize, ours: bool, readings: &[Reading]) {
    let who = if ours { "kubenest" } else { "kind" };
    for reading in readings {
        println!(
            "round {round}: {who} {:.1} s to the first pod, {:.1} s to the first line of a test",
            reading.pod_ready_seconds, reading.first_line_seconds
        );
    }
}
