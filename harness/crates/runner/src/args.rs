//! What the command line says of a run, whichever tests it is of.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

/// How to run the tests, as a command line says it.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Leave the clusters up and say how to look inside and how to remove them
    #[arg(long)]
    pub keep: bool,
    /// Repeat an earlier run: refuse nodes that are made of anything else than this lock file
    /// says, for example target/e2e/latest/kubenest.lock
    #[arg(long, value_name = "FILE")]
    pub locked: Option<PathBuf>,
    /// How many tests run at the same time [default: the CPUs, at most 3]; those in a module
    /// `long` mostly wait, so that one more runs beside them
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

/// Of an unchanged kernel's inotify instances, each cluster takes about a quarter.
const MOST_JOBS: usize = 3;

impl RunArgs {
    /// How many tests run at the same time. A test mostly waits for one thing after another;
    /// with a `long` one among them there is one more, where the machine has room for it.
    pub(crate) fn jobs(&self, long: bool) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = self
            .jobs
            .map_or_else(|| cpus().min(MOST_JOBS), NonZeroUsize::get);
        match long {
            true => jobs.max((jobs + 1).min(MOST_JOBS)),
            false => jobs,
        }
    }
}
