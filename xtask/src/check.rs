//! `check`: fmt, clippy, docs and tidy; what CI asks of every change.

use kubenest_runner::{exit, process, signals};

use crate::tidy;
use crate::workspace::Workspace;

/// The cargo commands that must end well.
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

/// Runs every check, also after one failed, and names those that did.
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
