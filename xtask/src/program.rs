//! The `kubenest` program, run for its user: `doctor`, `clean`.

use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::run_dir::RunDir;
use crate::workspace::Workspace;
use crate::{cli, compile, process};

/// How long cleaning up may take; an engine that hangs must not hold up the report.
const CLEANING: Duration = Duration::from_secs(10 * 60);

/// Checks this machine.
pub(crate) fn doctor(workspace: &Workspace) -> anyhow::Result<u8> {
    run(workspace, &["doctor"])
}

/// Removes what ended runs left behind, one run's things, or everything.
pub(crate) fn clean(workspace: &Workspace, all: bool, run_id: Option<&str>) -> anyhow::Result<u8> {
    let mut args = vec!["clean"];
    args.extend(all.then_some("--all"));
    args.extend(run_id.iter().flat_map(|run| ["--run", run]));
    run(workspace, &args)
}

/// Removes what one run left behind, also after an interrupt; says nothing unless it fails.
pub(crate) fn clean_run(kubenest: &Path, dir: &RunDir) -> anyhow::Result<()> {
    quietly(kubenest, dir, &["clean", "--run", &dir.run])
}

/// Makes bundles of what guards saved of tests that were killed; says nothing unless it fails.
pub(crate) fn finish_killed(kubenest: &Path, dir: &RunDir) -> anyhow::Result<()> {
    quietly(kubenest, dir, &["logs", "--killed"])
}

fn quietly(kubenest: &Path, dir: &RunDir, args: &[&str]) -> anyhow::Result<()> {
    let path = dir.path.join("clean.log");
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("write {}", path.display()))?;
    let mut command = process::command(kubenest);
    command
        .args(args)
        .stdout(Stdio::from(log.try_clone().context("share the log")?))
        .stderr(Stdio::from(log));
    let status = process::Running::start_anyway(&mut command)?
        .wait(Some(CLEANING), || {})?
        .status;
    if !status.success() {
        bail!(
            "kubenest {} ended with {status}, see {}",
            args.join(" "),
            path.display()
        );
    }
    Ok(())
}

fn run(workspace: &Workspace, args: &[&str]) -> anyhow::Result<u8> {
    let kubenest = compile::kubenest(workspace)?;
    let mut command = process::command(kubenest);
    Ok(exit_code(process::run(command.args(args))?))
}

/// The program's own exit code; one ended by a signal has none.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(cli::CHECK_FAILED)
}
