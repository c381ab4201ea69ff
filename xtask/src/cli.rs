//! The command line as data, and the exit codes it promises.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::plan::Side;

/// Everything asked for passed.
pub(crate) const OK: u8 = 0;
/// A check of the repository failed.
pub(crate) const CHECK_FAILED: u8 = 1;
/// The command line or the workspace is wrong.
pub(crate) const USAGE: u8 = 2;
/// No test ran, or none is what a name or a side asks for.
pub(crate) const NOTHING_RAN: u8 = 4;
/// A test failed: its assertion does not hold.
pub(crate) const TEST_FAILED: u8 = 100;
/// The set-up failed; nothing is known about the behaviour under test.
pub(crate) const SETUP_FAILED: u8 = 105;

/// kubenest's own commands: run the suites, check the repository, clean up.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    everything asked for passed
  1    a check of the repository failed
  2    the command line or the workspace is wrong
  4    nothing ran, or no test is what a name or a side asks for
  100  a test failed
  105  the set-up failed (also when other tests failed)
  130  interrupted (143 on SIGTERM)";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run regression suites on real clusters, on the affected and the fixed versions
    ///
    /// Results go to target/e2e/latest: report.html, report.json, junit.xml, kubenest.lock
    /// (what the nodes were made of), one log per test and the evidence of failures.
    E2e(E2eArgs),
    /// Run everything: unit and doc tests, then every suite on real clusters
    Test(TestArgs),
    /// Show the suites and what each one reproduces
    List {
        /// Print JSON, as the CI matrix reads it
        #[arg(long)]
        json: bool,
    },
    /// Look at this machine: engine, cgroups, limits, disk
    Doctor,
    /// Remove what ended runs left behind: containers, networks, volumes, tests' images
    Clean {
        /// Remove everything kubenest made, kept and running clusters too
        #[arg(long)]
        all: bool,
        /// Remove what this one run made
        #[arg(long, value_name = "RUN", conflicts_with = "all")]
        run: Option<String>,
    },
    /// fmt, clippy, docs and tidy
    Check,
    /// Check the repository's own rules
    Tidy,
    /// Measure
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Boot time beside the real kind, on the same node image
    #[command(disable_help_flag = true)]
    Boot {
        /// Passed on to the benchmark; --help shows its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Loading images beside the real kind and `docker save | ctr import`, on the same nodes
    #[command(disable_help_flag = true)]
    Images {
        /// Passed on to the benchmark; --help shows its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct E2eArgs {
    /// Suites to run; SUITE::TEXT runs only its tests whose name contains TEXT
    /// [default: every suite that reproduces a failure]
    #[arg(value_name = "SUITE")]
    pub(crate) suites: Vec<String>,
    /// Run only the tests of one side [default: both]
    #[arg(long)]
    pub(crate) side: Option<Side>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Leave out what `cargo xtask e2e` runs, where both are run
    #[arg(long)]
    pub(crate) without_e2e: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Leave the clusters up and say how to look inside and how to remove them
    #[arg(long)]
    pub(crate) keep: bool,
    /// Repeat an earlier run: refuse nodes that are made of anything else than this lock file
    /// says, for example target/e2e/latest/kubenest.lock
    #[arg(long, value_name = "FILE")]
    pub(crate) locked: Option<PathBuf>,
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
