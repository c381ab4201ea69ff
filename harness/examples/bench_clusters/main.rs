//! Cold boots, cases and suites of tests, measured: beside the real kind on the same node image, many
//! in a row, and nested in each other.
//!
//! `cargo xtask bench boot --help` tells the options; `soak`, `layers`, `case` and `suite` have theirs.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

#[path = "../bench/mod.rs"]
mod bench;
mod boots;
mod case;
mod compare;
mod layers;
mod observe;
mod picture;
mod reading;
#[path = "../report/mod.rs"]
mod report;
mod rounds;
mod soak;
mod statistics;
mod suite;
mod table;

use std::process::ExitCode;

use clap::Parser;
use kubenest::telemetry;

use self::report::report;

/// Measures cold boots, cases and suites.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
enum Cli {
    Boot(rounds::Args),
    Case(case::Args),
    Layers(layers::Args),
    Soak(soak::Args),
    Suite(suite::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::start();
    let ended = match Cli::parse() {
        Cli::Boot(args) => rounds::run(&args).await,
        Cli::Case(args) => case::run(&args).await,
        Cli::Layers(args) => layers::run(&args).await,
        Cli::Soak(args) => soak::run(&args).await,
        Cli::Suite(args) => suite::run(&args).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", report(&error));
            ExitCode::FAILURE
        }
    }
}
