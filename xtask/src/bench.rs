//! `bench`: the benchmark programs of the harness.

use crate::workspace::Workspace;
use crate::{compile, process, program};

/// Runs `harness/examples/<example>.rs` with these arguments.
pub(crate) fn run(workspace: &Workspace, example: &str, args: &[String]) -> anyhow::Result<u8> {
    let mut command = compile::cargo(workspace);
    command.args(["run", "--package", "kubenest", "--example", example, "--"]);
    Ok(program::exit_code(process::run(command.args(args))?))
}
