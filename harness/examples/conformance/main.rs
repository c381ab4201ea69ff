//! Conformance tests of others, run against kubenest's nodes: critest of cri-tools against a node's
//! container runtime.
//!
//! `cargo xtask conformance cri --help` tells the options.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

mod cri;
mod critest;
mod images;
mod judge;
mod known;
#[path = "../report/mod.rs"]
mod report;
mod results;

use std::process::ExitCode;

use clap::Parser;
use kubenest::telemetry;
use kubenest_protocol::exit;

use self::report::report;

/// Runs conformance tests of others against kubenest's nodes
#[derive(Parser)]
#[command(bin_name = "cargo xtask conformance")]
enum Cli {
    Cri(cri::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::start();
    let Cli::Cri(args) = Cli::parse();
    match cri::run(&args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", report(&error));
            ExitCode::from(exit::SETUP_FAILED)
        }
    }
}
