//! The command-line options of a run, for whichever tests it runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

/// The options that say how to run the tests.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Leave the clusters up and say how to look inside and how to remove them
    #[arg(long)]
    pub keep: bool,
    /// Repeat an earlier run: refuse nodes that are made of anything else than this lock file
    /// says, for example target/e2e/latest/kubenest.lock
    #[arg(long, value_name = "FILE")]
    pub locked: Option<PathBuf>,
    /// Run each test that names no node of its own once on each of these nodes, such as
    /// 1.32,latest,cri-o; the report has a column for each, and shows first what fails only on some
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,
    /// Leave out the tests that declare a need whose name contains this, for example one whose
    /// making takes too long for this run; they are named at the end
    #[arg(long, value_name = "NEED")]
    pub(crate) leave_out: Vec<String>,
    /// Run for about this long, such as 10m: the tests that ran most recently are left out and named
    /// at the end; those that have never run, and those that their manifest says always run, stay
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) within: Option<Duration>,
    /// How many tests run at the same time [default: one more than CPUs, at most 4]; those in a
    /// module `long` mostly wait, so that one more runs beside them
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

/// Each cluster takes about a quarter of the inotify instances that an unchanged kernel gives.
const MOST_JOBS: usize = 4;

impl RunArgs {
    /// How many tests run at the same time. A `long` test mostly waits, so with one among the tests
    /// one more may run, where the machine has room for it.
    pub(crate) fn jobs(&self, long: bool) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = self
            .jobs
            // Boots take turns for the CPUs; between them tests mostly wait.
            .map_or_else(|| (cpus() + 1).min(MOST_JOBS), NonZeroUsize::get);
        match long {
            true => jobs.max((jobs + 1).min(MOST_JOBS)),
            false => jobs,
        }
    }
}

/// Reads "90s", "6m" or "1h".
///
/// # Errors
/// The text is no such time.
pub fn parse_duration(text: &str) -> anyhow::Result<Duration> {
    let seconds = match text.char_indices().next_back() {
        Some((at, unit @ ('s' | 'm' | 'h'))) => {
            let factor = match unit {
                's' => 1,
                'm' => 60,
                _ => 3600,
            };
            text[..at]
                .parse::<u32>()
                .ok()
                .map(|number| u64::from(number) * factor)
        }
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => bail!("{text:?} is not a time such as \"90s\", \"6m\" or \"1h\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse_duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("6m").unwrap(), Duration::from_secs(360));
        assert_eq!(parse_duration("1h").unwrap(), Duration::from_secs(3600));
    }

    #[test]
    fn a_time_without_unit_or_number_is_refused() {
        for text in ["", "6", "m", "0m", "-1m", "6 m", "6d", "6µ"] {
            assert!(parse_duration(text).is_err(), "{text:?} must be refused");
        }
    }
}
