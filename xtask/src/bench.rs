//! `bench`, `conformance` and `soak`: programs of the harness that are no tests.

use std::ffi::OsStr;

use kubenest_runner::process;

use crate::program;
use crate::workspace::Workspace;

/// Runs `harness/examples/<example>` with these arguments.
pub(crate) fn run(
    workspace: &Workspace,
    example: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> anyhow::Result<u8> {
    let mut command = workspace.cargo();
    command.args(["run", "--package", "kubenest", "--example", example, "--"]);
    Ok(program::exit_code(process::run(command.args(args))?))
}
