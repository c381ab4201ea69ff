//! `bench boot`: the benchmark program of the harness.

use crate::workspace::Workspace;
use crate::{compile, process, program};

/// Runs `harness/examples/bench_boot.rs` with these arguments.
pub(crate) fn boot(workspace: &Workspace, args: &[String]) -> anyhow::Result<u8> {
    let mut command = compile::cargo(workspace);
    command.args([
        "run",
        "--package",
        "kubenest",
        "--example",
        "bench_boot",
        "--",
    ]);
    Ok(program::exit_code(process::run(command.args(args))?))
}
