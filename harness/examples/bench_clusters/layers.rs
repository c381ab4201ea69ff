//! `layers`: clusters nested in each other, with what each layer costs.

use std::{num::NonZeroUsize, time::Instant};

use anyhow::Result;
use kubenest::{Cluster, ClusterSpec};
use serde::Serialize;

use crate::{
    bench::{Options, median},
    observe::used_mib,
    statistics::percentile,
};

/// Boots clusters of one node nested in each other and tells what each layer costs
///
/// A layer's time is that of its own boot, with its health gate, while those around it are up. Its
/// memory is by how much all of them use more than before. Each round ends with another gate of the
/// innermost cluster and a case on it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// How many clusters stand in each other
    #[arg(long, default_value = "3")]
    depth: NonZeroUsize,
}

/// What one layer of one round took.
#[derive(Debug, Clone, Copy, Serialize)]
struct Layer {
    seconds: f64,
    mib: f64,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let spec = ClusterSpec::single_node().with_recipe(&args.options.recipe)?;
    let mut rounds = Vec::new();
    for number in 1..=args.options.rounds.get() {
        let layers = Box::pin(round(&spec, args.depth.get())).await?;
        let told = layers.iter().map(|layer| format!("{:.1} s", layer.seconds));
        println!("round {number}: {}", told.collect::<Vec<_>>().join(", "));
        rounds.push(layers);
        // After each round, so that an interruption loses nothing.
        args.options.write_json(&rounds)?;
    }
    print!("{}", table(&rounds));
    Ok(())
}

async fn round(spec: &ClusterSpec, depth: usize) -> Result<Vec<Layer>> {
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut layers = Vec::new();
    let mut before = 0.0;
    while clusters.len() < depth {
        let begin = Instant::now();
        let booted = match clusters.last() {
            None => spec.clone().boot().await?,
            Some(around) => around.nest(spec).await?,
        };
        let seconds = begin.elapsed().as_secs_f64();
        clusters.push(booted);
        // All that is nested in a node counts as the node's.
        let used = used_mib(clusters[0].nodes()).await?;
        layers.push(Layer {
            seconds,
            mib: used - before,
        });
        before = used;
    }
    let innermost = &clusters[clusters.len() - 1];
    innermost.health().await?;
    innermost.case(async |_| Ok(())).await?;
    while let Some(cluster) = clusters.pop() {
        cluster.down().await?;
    }
    Ok(layers)
}

/// A line for each layer.
fn table(rounds: &[Vec<Layer>]) -> String {
    let mut text = String::from(
        "| layer | boot, p50, s | p95, s | of the first | memory, p50, MiB |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    let depth = rounds.first().map_or(0, Vec::len);
    let seconds = |layer: usize| rounds.iter().map(move |round| round[layer].seconds);
    for layer in 0..depth {
        let half = median(seconds(layer));
        text += &format!(
            "| {} | {half:.1} | {:.1} | {:.2} | {:.0} |\n",
            layer + 1,
            percentile(95, seconds(layer)),
            half / median(seconds(0)),
            median(rounds.iter().map(|round| round[layer].mib)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_held_against_the_first() {
        let layer = |seconds, mib| Layer { seconds, mib };
        let rounds = [
            vec![layer(10.0, 800.0), layer(14.0, 700.0)],
            vec![layer(12.0, 900.0), layer(19.0, 600.0)],
        ];
        insta::assert_snapshot!(table(&rounds), @r"
        | layer | boot, p50, s | p95, s | of the first | memory, p50, MiB |
        | --- | --- | --- | --- | --- |
        | 1 | 11.0 | 12.0 | 1.00 | 850 |
        | 2 | 16.5 | 19.0 | 1.50 | 650 |
        ");
    }
}
