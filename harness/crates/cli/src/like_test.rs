//! `kubenest up --like-test`: the cluster that a test of a project gets.

use std::fs;

use kubenest::{Error, Result};
use kubenest_base::Context;
use kubenest_runner::{process, signals};

/// Runs a test as far as its first case, and prints where the cluster is that it got.
pub(crate) fn up(test: &str, cargo_args: &[String]) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder for the answer")?;
    let answer = folder.path().join("cluster");
    let mut cargo = process::cargo();
    cargo
        .arg("test")
        .args(cargo_args)
        .args(["--", "--exact", "--include-ignored", "--nocapture", test])
        .env("KUBENEST_KEEP", "1")
        .env("KUBENEST_UP_ONLY", &answer);
    let run = signals::install().and_then(|()| process::run(&mut cargo));
    let status = run.map_err(|error| Error::setup(format!("{error:#}")))?;
    match fs::read_to_string(&answer) {
        Ok(hint) => {
            println!("{hint}");
            Ok(())
        }
        Err(_) if status.success() => Err(Error::input(format!(
            "no test '{test}' here runs a case on a cluster"
        ))
        .cure("`cargo test -- --list` shows all tests; give the whole name, with its modules")),
        // The test itself has said why.
        Err(_) => Err(Error::setup(format!(
            "`cargo test` ended with {status} before the first case of '{test}' began"
        ))),
    }
}
