//! `e2e` and `test`: run tests and return the exit code.

use kubenest_runner::{Front, Kubenest, Request, RunArgs, Selection, exit, process, signals};

use crate::choice;
use crate::cli::{E2eArgs, TestArgs};
use crate::workspace::Workspace;

/// Runs the requested regression suites.
pub(crate) fn suites(workspace: &Workspace, args: &E2eArgs) -> anyhow::Result<u8> {
    let selection = choice::select(&workspace.suites()?, &args.suites, args.side)?;
    run(workspace, selection, &args.run)
}

/// Runs all tests: first those that need no cluster, then every suite.
pub(crate) fn everything(workspace: &Workspace, args: &TestArgs) -> anyhow::Result<u8> {
    let units = run_unit_tests(workspace)?;
    if let Some(code) = signals::exit_code() {
        return Ok(code);
    }
    let mut suites = workspace.suites()?;
    if args.without_e2e {
        suites.retain(|suite| !suite.manifest.has_sides());
    }
    let suites = run(workspace, choice::everything(&suites)?, &args.run)?;
    Ok(match suites {
        exit::OK => units,
        exit::NOTHING_RAN if units != exit::OK => units,
        _ => suites,
    })
}

/// What has unit tests: libraries, two programs, and the examples with pure parts. The programs of
/// suites have none, and each takes seconds to link.
const UNITS: [&str; 9] = [
    "--lib",
    "--bin",
    "kubenest",
    "--bin",
    "xtask",
    "--example",
    "bench_clusters",
    "--example",
    "soak",
];

/// The unit and doc tests, by cargo's own runner.
fn run_unit_tests(workspace: &Workspace) -> anyhow::Result<u8> {
    let cargo_test = |args: &[&str]| {
        let mut command = workspace.cargo();
        process::run(command.args(["test", "--workspace"]).args(args))
    };
    if !cargo_test(&[&UNITS[..], &["--no-run"]].concat())?.success() {
        println!("SETUP  the unit tests do not build");
        return Ok(exit::SETUP_FAILED);
    }
    let units = cargo_test(&[&UNITS[..], &["--no-fail-fast"]].concat())?;
    let docs = cargo_test(&["--doc", "--no-fail-fast"])?;
    let passed = units.success() && docs.success();
    Ok(if passed { exit::OK } else { exit::TEST_FAILED })
}

fn run(workspace: &Workspace, selection: Selection, args: &RunArgs) -> anyhow::Result<u8> {
    // Always build the whole workspace: the packages that a cargo command names determine the
    // features of their dependencies, and another set would rebuild hundreds of crates.
    let build = ["build", "--workspace", "--bin", "kubenest", "--test", "*"];
    let request = Request {
        root: workspace.root(),
        folder: workspace.root(),
        results: workspace.target().join("e2e"),
        build: build.map(str::to_owned).into(),
        kubenest: Kubenest::Built,
        selection,
        declares_all: true,
        front: Front {
            again: Box::new(|test| {
                let node = test.node().map(|node| format!(" --nodes {node}"));
                let node = node.unwrap_or_default();
                format!("cargo xtask e2e {}{node} --keep", test.id())
            }),
            clean: "cargo xtask clean",
        },
        json: false,
    };
    kubenest_runner::run(&request, args)
}
