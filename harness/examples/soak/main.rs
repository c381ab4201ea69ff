//! A soak: many tests in many processes share clusters while processes, guards, engines and
//! runtimes are killed or stand still; then nothing may have hung, got lost or been left over.
//!
//! `cargo xtask soak --help` tells the options.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

mod faults;
mod judge;
mod layers;
mod place;
mod remains;
#[path = "../report/mod.rs"]
mod report;
mod run;
mod schedule;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kubenest::telemetry;

use self::report::report;

/// Lets many tests share clusters while what they use is killed, and looks what is left
///
/// Each kind of fault has to land at least once; the run is longer where one has not. The engine
/// and both caches are the soak's own.
#[derive(Parser)]
#[command(bin_name = "cargo xtask soak", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    soak: run::Args,
}

#[derive(Subcommand)]
enum Part {
    Layers(layers::Args),
    #[command(hide = true)]
    Test(test::Args),
    #[command(hide = true)]
    Hold(layers::Holder),
}

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::start();
    let cli = Cli::parse();
    let ended = match &cli.part {
        Some(Part::Test(args)) => test::run(args).await,
        Some(Part::Hold(args)) => Box::pin(layers::hold(args)).await,
        Some(Part::Layers(args)) => Box::pin(layers::run(args)).await,
        None => Box::pin(run::run(&cli.soak)).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", report(&error));
            ExitCode::FAILURE
        }
    }
}
