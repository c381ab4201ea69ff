//! `doctor` and `clean`: commands of the `kubenest` program, built and run from here.

use std::process::ExitStatus;

use kubenest_runner::{compile, exit, process};

use crate::workspace::Workspace;

/// Checks this machine.
pub(crate) fn doctor(workspace: &Workspace) -> anyhow::Result<u8> {
    run(workspace, &["doctor"])
}

/// Removes the remains of ended runs, those of one run, or everything.
pub(crate) fn clean(workspace: &Workspace, all: bool, run_id: Option<&str>) -> anyhow::Result<u8> {
    let mut args = vec!["clean"];
    args.extend(all.then_some("--all"));
    args.extend(run_id.iter().flat_map(|run| ["--run", run]));
    run(workspace, &args)
}

fn run(workspace: &Workspace, args: &[&str]) -> anyhow::Result<u8> {
    // With examples, cargo chooses the same features as for tests, so that nothing is built twice.
    let build = ["build", "--workspace", "--bin", "kubenest", "--examples"];
    let built = compile::build(&workspace.root(), &build.map(str::to_owned))?;
    let mut command = process::command(compile::kubenest(&built)?);
    Ok(exit_code(process::run(command.args(args))?))
}

/// The program's exit code; a program ended by a signal has none, which counts as a failure.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(exit::CHECK_FAILED)
}
