//! `bench`: the benchmark programs of the harness.

use kubenest_runner::process;

use crate::program;
use crate::workspace::Workspace;

/// Runs `harness/examples/<example>.rs` with these arguments.
pub(crate) fn run(workspace: &Workspace, example: &str, args: &[String]) -> anyhow::Result<u8> {
    let mut command = workspace.cargo();
    command.args(["run", "--package", "kubenest", "--example", example, "--"]);
    Ok(program::exit_code(process::run(command.args(args))?))
}
