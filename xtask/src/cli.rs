//! The command line, as clap parses it.

use clap::{Args, Parser, Subcommand};
use kubenest_runner::{RunArgs, Side};

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
    /// fmt, clippy, docs, shellcheck and tidy
    Check,
    /// Check the repository's own rules
    Tidy,
    /// Many tests on shared clusters while what they use is killed
    #[command(disable_help_flag = true)]
    Soak {
        /// Passed on to the program; --help shows its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Conformance tests of others, against kubenest's nodes
    #[command(subcommand)]
    Conformance(Conformance),
    /// Measure
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Conformance {
    /// critest 1.34 against the container runtime of a node
    #[command(disable_help_flag = true)]
    Cri {
        /// Passed on to the program; --help shows its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
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
    /// Many boots in a row: failures, percentiles and what was slow
    #[command(disable_help_flag = true)]
    Soak {
        /// Passed on to the benchmark; --help shows its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Clusters nested in each other: seconds and memory of each layer
    #[command(disable_help_flag = true)]
    Layers {
        /// Passed on to the benchmark; --help shows its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Sixty tests on a lease beside the same on a cluster of kind's, cold and warm
    #[command(disable_help_flag = true)]
    Suite {
        /// Passed on to the benchmark; --help shows its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// What an empty case costs on a leased cluster
    #[command(disable_help_flag = true)]
    Case {
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
