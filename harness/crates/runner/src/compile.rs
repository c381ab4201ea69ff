//! Builds programs with cargo and returns their paths; cargo shows its own progress.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use cargo_metadata::{Artifact, Message};

use crate::package::Package;
use crate::process::{self, Running};

/// A program that cargo has built.
#[derive(Debug)]
pub struct Built {
    /// What cargo says about the program.
    pub artifact: Artifact,
    /// Path of the program.
    pub path: PathBuf,
}

/// A test program of a package.
pub(crate) struct TestProgram {
    pub(crate) package: Package,
    /// The name of its target, such as "regression" of `tests/regression.rs`.
    pub(crate) target: String,
    /// The main source file of the target.
    pub(crate) source: PathBuf,
    pub(crate) path: PathBuf,
}

/// Runs cargo in this folder with these arguments, and returns the programs that it built.
///
/// # Errors
/// The programs do not build, or this program was interrupted.
pub fn build(folder: &Path, args: &[String]) -> anyhow::Result<Vec<Built>> {
    let mut command = process::cargo();
    command
        .current_dir(folder)
        .args(args)
        .arg("--message-format=json-render-diagnostics");
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let pipe = running
        .child
        .stdout
        .take()
        .context("stdout must be piped")?;
    let mut built = Vec::new();
    for message in Message::parse_stream(BufReader::new(pipe)) {
        if let Message::CompilerArtifact(artifact) = message.context("read cargo's messages")?
            && let Some(path) = artifact.executable.clone()
        {
            let path = path.into_std_path_buf();
            built.push(Built { artifact, path });
        }
    }
    let status = running.wait(None, || {})?.status;
    if !status.success() {
        let subcommand = args.first().map_or("", String::as_str);
        bail!("the workspace does not build: cargo {subcommand} ended with {status}");
    }
    Ok(built)
}

/// The path of the program `kubenest` among the built ones.
///
/// # Errors
/// The program is not among them.
pub fn kubenest(built: &[Built]) -> anyhow::Result<PathBuf> {
    let is_it = |built: &&Built| !built.artifact.profile.test && is_kubenest(&built.artifact);
    let program = built.iter().find(is_it);
    let program = program.context("cargo built no program `kubenest`")?;
    Ok(program.path.clone())
}

fn is_kubenest(artifact: &Artifact) -> bool {
    artifact.target.is_bin() && artifact.target.name == "kubenest"
}

/// The test programs of these packages, among all built programs.
pub(crate) fn test_programs(built: Vec<Built>, packages: &[Package]) -> Vec<TestProgram> {
    let mut programs: Vec<_> = built
        .into_iter()
        // Cargo also builds the ordinary programs of a package, since its tests start them.
        .filter(|built| built.artifact.profile.test)
        .filter_map(|Built { artifact, path }| {
            let dir = artifact.manifest_path.parent()?;
            let package = packages.iter().find(|package| package.dir == dir)?;
            Some(TestProgram {
                package: package.clone(),
                target: label(&artifact),
                source: artifact.target.src_path.into_std_path_buf(),
                path,
            })
        })
        .collect();
    programs.sort_by(|a, b| (&a.package.name, &a.target).cmp(&(&b.package.name, &b.target)));
    programs
}

/// Names the target within its package: a library and a program of it may share a name.
fn label(artifact: &Artifact) -> String {
    let target = &artifact.target;
    let kind = match () {
        () if target.is_test() => return target.name.clone(),
        () if target.is_bin() => "bin",
        () if target.is_example() => "example",
        () if target.is_bench() => "bench",
        () => "lib",
    };
    format!("{kind}-{}", target.name)
}
