//! What the benchmark programs share: options, the median, and the measurements as a file.

use std::{fs, num::NonZeroUsize, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

/// The options of both.
#[derive(Args)]
pub(crate) struct Options {
    /// How often each is measured
    #[arg(long, default_value = "5")]
    pub(crate) rounds: NonZeroUsize,
    /// The node image of all
    #[arg(long, default_value = "v1.32.1-containerd-2.0.2")]
    pub(crate) recipe: String,
    /// The release of kind: 0.26.0, 0.27.0, 0.31.0 or 0.33.0
    #[arg(long, default_value = "0.33.0")]
    pub(crate) kind: String,
    /// Also write the measurements here, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Options {
    /// Writes the measurements, if that is asked for.
    pub(crate) fn write_json(&self, readings: &impl Serialize) -> Result<()> {
        let Some(path) = &self.json else {
            return Ok(());
        };
        fs::write(path, serde_json::to_vec_pretty(readings)?)
            .with_context(|| format!("write '{}'", path.display()))
    }
}

/// The middle one of the values; of an even number of them, the mean of the middle two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
