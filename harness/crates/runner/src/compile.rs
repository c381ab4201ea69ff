//! Builds the suites' test programs, and the `kubenest` program that cleans up after them.
//!
//! Always the whole workspace: which packages a cargo command names decides the features of
//! what they depend on, and another choice would build hundreds of crates once more.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use cargo_metadata::{Artifact, Message};

use crate::process::{self, Running};
use crate::workspace::{Suite, Workspace};

/// What a run needs.
pub(crate) struct Built {
    /// The test programs of the suites asked for.
    pub(crate) programs: Vec<TestProgram>,
    pub(crate) kubenest: PathBuf,
}

/// One compiled test program of a suite.
pub(crate) struct TestProgram {
    pub(crate) suite: Suite,
    /// The file it was built from, such as "regression" of `tests/regression.rs`.
    pub(crate) target: String,
    pub(crate) path: PathBuf,
}

/// Builds every suite's tests and `kubenest`; cargo shows its own progress.
pub(crate) fn tests(workspace: &Workspace, suites: &[Suite]) -> anyhow::Result<Built> {
    let mut built = build(workspace, &["--bin", "kubenest", "--test", "*"])?;
    let kubenest = take_kubenest(&mut built)?;
    let mut programs: Vec<_> = built
        .into_iter()
        // Cargo builds the programs beside the tests too: the tests start them.
        .filter(|(artifact, _)| artifact.target.is_test())
        .filter_map(|(artifact, path)| {
            let packages = &workspace.metadata.packages;
            let package = packages.iter().find(|p| p.id == artifact.package_id)?;
            let suite = suites.iter().find(|suite| package.name == suite.name)?;
            Some(TestProgram {
                suite: suite.clone(),
                target: artifact.target.name,
                path,
            })
        })
        .collect();
    programs.sort_by(|a, b| (&a.suite.name, &a.target).cmp(&(&b.suite.name, &b.target)));
    Ok(Built { programs, kubenest })
}

/// Builds only `kubenest`.
///
/// # Errors
/// It does not build.
pub fn kubenest(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    // The example makes cargo choose the features that the tests have.
    take_kubenest(&mut build(workspace, &["--bin", "kubenest", "--examples"])?)
}

/// Cargo in the workspace.
pub fn cargo(workspace: &Workspace) -> Command {
    let mut command = process::cargo();
    command.current_dir(workspace.root());
    command
}

/// Builds these targets and returns the programs among them.
fn build(workspace: &Workspace, targets: &[&str]) -> anyhow::Result<Vec<(Artifact, PathBuf)>> {
    let mut command = cargo(workspace);
    command
        .args([
            "build",
            "--workspace",
            "--message-format=json-render-diagnostics",
        ])
        .args(targets);
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let pipe = running
        .child
        .stdout
        .take()
        .context("stdout must be piped")?;
    let mut programs = Vec::new();
    for message in Message::parse_stream(BufReader::new(pipe)) {
        if let Message::CompilerArtifact(artifact) = message.context("read cargo's messages")?
            && let Some(path) = artifact.executable.clone()
        {
            programs.push((artifact, path.into_std_path_buf()));
        }
    }
    let status = running.wait(None, || {})?.status;
    if !status.success() {
        bail!("the workspace does not build: cargo build ended with {status}");
    }
    Ok(programs)
}

fn take_kubenest(built: &mut Vec<(Artifact, PathBuf)>) -> anyhow::Result<PathBuf> {
    let at = built
        .iter()
        .position(|(artifact, _)| artifact.target.name == "kubenest");
    let at = at.context("cargo built no program `kubenest`")?;
    Ok(built.swap_remove(at).1)
}
