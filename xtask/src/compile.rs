//! Builds the suites' test programs, and the `kubenest` program that cleans up after them.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use cargo_metadata::Message;

use crate::process::{self, Running};
use crate::workspace::{Suite, Workspace};

/// One compiled test program of a suite.
pub(crate) struct TestProgram {
    pub(crate) suite: Suite,
    /// The file it was built from, such as "regression" of `tests/regression.rs`.
    pub(crate) target: String,
    pub(crate) path: PathBuf,
}

/// Builds the test programs of these suites; cargo shows its own progress.
pub(crate) fn tests(workspace: &Workspace, suites: &[Suite]) -> anyhow::Result<Vec<TestProgram>> {
    let mut command = cargo(workspace);
    command.args(["test", "--no-run", "--lib", "--bins", "--tests"]);
    command.arg("--message-format=json-render-diagnostics");
    for suite in suites {
        command.args(["--package", &suite.name]);
    }
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let pipe = running
        .child
        .stdout
        .take()
        .context("stdout must be piped")?;
    let mut programs = Vec::new();
    for message in Message::parse_stream(BufReader::new(pipe)) {
        let Message::CompilerArtifact(artifact) = message.context("read cargo's messages")? else {
            continue;
        };
        let Some(path) = artifact.executable.filter(|_| artifact.profile.test) else {
            continue;
        };
        let package = workspace
            .metadata
            .packages
            .iter()
            .find(|p| p.id == artifact.package_id);
        let suite = package.and_then(|p| suites.iter().find(|s| p.name == s.name));
        if let Some(suite) = suite {
            programs.push(TestProgram {
                suite: suite.clone(),
                target: artifact.target.name,
                path: path.into_std_path_buf(),
            });
        }
    }
    let status = running.wait(None, || {})?.status;
    if !status.success() {
        bail!("the suites do not build: cargo test --no-run ended with {status}");
    }
    programs.sort_by(|a, b| (&a.suite.name, &a.target).cmp(&(&b.suite.name, &b.target)));
    Ok(programs)
}

/// Builds `kubenest`. The suites are named too, so that its dependencies are
/// built with the same features as theirs, once.
pub(crate) fn kubenest(workspace: &Workspace, suites: &[Suite]) -> anyhow::Result<PathBuf> {
    let mut command = cargo(workspace);
    command.args([
        "build",
        "--quiet",
        "--bin",
        "kubenest",
        "--package",
        "kubenest",
    ]);
    for suite in suites {
        command.args(["--package", &suite.name]);
    }
    let status = process::run(&mut command)?;
    if !status.success() {
        bail!("kubenest does not build: cargo build ended with {status}");
    }
    Ok(workspace.target().join("debug/kubenest"))
}

/// Cargo in the workspace.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut command = process::cargo();
    command.current_dir(workspace.root());
    command
}
