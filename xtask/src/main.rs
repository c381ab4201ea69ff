//! The project's own commands; `cargo xtask --help` lists them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

mod bench;
mod check;
mod choice;
mod cli;
mod e2e;
mod list;
mod program;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::Parser;
use kubenest_runner::{exit, signals};

use crate::cli::{Bench, Cli, Command, Conformance};
use crate::workspace::Workspace;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(signals::exit_code().unwrap_or(exit::USAGE))
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<u8> {
    signals::install()?;
    let workspace = Workspace::load()?;
    match command {
        Command::E2e(args) => e2e::suites(&workspace, &args),
        Command::Test(args) => e2e::everything(&workspace, &args),
        Command::List { json } => list::print(&workspace, json),
        Command::Doctor => program::doctor(&workspace),
        Command::Clean { all, run } => program::clean(&workspace, all, run.as_deref()),
        Command::Check => check::run(&workspace),
        Command::Tidy => tidy::print(&workspace),
        Command::Soak { args } => bench::run(&workspace, "soak", &args),
        Command::Conformance(Conformance::Cri { args }) => {
            bench::run(&workspace, "conformance", with("cri", &args))
        }
        Command::Bench(bench) => match bench {
            Bench::Boot { args } => bench::run(&workspace, "bench_clusters", with("boot", &args)),
            Bench::Soak { args } => bench::run(&workspace, "bench_clusters", with("soak", &args)),
            Bench::Layers { args } => {
                bench::run(&workspace, "bench_clusters", with("layers", &args))
            }
            Bench::Suite { args } => bench::run(&workspace, "bench_clusters", with("suite", &args)),
            Bench::Case { args } => bench::run(&workspace, "bench_clusters", with("case", &args)),
            Bench::Images { args } => bench::run(&workspace, "bench_images", &args),
        },
    }
}

/// The arguments behind a subcommand.
fn with<'a>(subcommand: &'a str, args: &'a [String]) -> impl Iterator<Item = &'a str> {
    std::iter::once(subcommand).chain(args.iter().map(String::as_str))
}
