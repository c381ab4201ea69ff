//! `check`: fmt, clippy, docs, shellcheck and tidy, which CI requires of every change.

use std::path::Path;

use anyhow::{Context, ensure};

use kubenest_runner::{exit, process, signals};

use crate::tidy;
use crate::workspace::Workspace;

/// The linter of shell scripts.
const SHELLCHECK: &str = "shellcheck";

/// The cargo commands that must succeed.
const STEPS: [(&str, &[&str]); 3] = [
    ("fmt", &["fmt", "--all", "--check"]),
    (
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ],
    ),
    (
        "doc",
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ],
    ),
];

/// Runs every check, even after a failure, and names those that failed.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<u8> {
    let mut failed = Vec::new();
    for (name, args) in STEPS {
        println!("check: cargo {}", args.join(" "));
        let mut command = workspace.cargo();
        command.args(args);
        if name == "doc" {
            command.env("RUSTDOCFLAGS", "--deny warnings");
        }
        if !process::run(&mut command)?.success() {
            failed.push(name);
        }
        if let Some(code) = signals::exit_code() {
            return Ok(code);
        }
    }
    let scripts = tidy::scripts(workspace)?;
    if let Err(error) = lint(SHELLCHECK, &workspace.root(), &scripts) {
        println!("check: {error:#}");
        failed.push(SHELLCHECK);
    }
    if tidy::print(workspace)? != exit::OK {
        failed.push("tidy");
    }
    if failed.is_empty() {
        println!("check result: ok");
        Ok(exit::OK)
    } else {
        println!("check result: FAILED in {}", failed.join(", "));
        Ok(exit::CHECK_FAILED)
    }
}

/// Runs a linter on these files.
fn lint(linter: &str, root: &Path, files: &[String]) -> anyhow::Result<()> {
    println!("check: {linter} {}", files.join(" "));
    let mut command = process::command(linter);
    command.current_dir(root).args(files);
    let ended = process::run(&mut command)
        .with_context(|| format!("{linter} is needed: install the system's package {linter}"))?;
    ensure!(ended.success(), "{linter} ended with {ended}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linter_that_is_missing_or_finds_a_fault_fails_the_check() {
        let root = Path::new("/");
        let missing = lint("no-such-linter", root, &[]).unwrap_err();
        let words = "install the system's package no-such-linter";
        assert!(missing.to_string().contains(words), "{missing:#}");
        assert!(lint("true", root, &[]).is_ok());
        assert!(lint("false", root, &[]).is_err());
    }
}
