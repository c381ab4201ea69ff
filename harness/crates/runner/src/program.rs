//! Runs the program `kubenest`, to clean up after tests and to remove secrets from their logs.

use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::process;
use crate::run_dir::RunDir;

/// How long cleaning up may take: an engine that hangs must not hold up the report.
const CLEANING: Duration = Duration::from_secs(10 * 60);
/// How long redacting one log may take.
const REDACTING: Duration = Duration::from_secs(2 * 60);

/// Removes what one run left behind, also after an interrupt; prints nothing unless that fails.
pub(crate) fn clean_run(kubenest: &Path, dir: &RunDir) -> anyhow::Result<()> {
    quietly(kubenest, dir, &["clean", "--run", &dir.run])
}

/// Makes bundles of the evidence that guards saved for killed tests; prints nothing unless that
/// fails.
pub(crate) fn finish_killed(kubenest: &Path, dir: &RunDir) -> anyhow::Result<()> {
    quietly(kubenest, dir, &["logs", "--killed"])
}

/// Removes secrets from a test's log, by the library's own rules. After that the log may be quoted
/// anywhere. A log that cannot be redacted is moved aside, readable by its owner only.
pub(crate) fn redact_log(kubenest: &Path, log: &Path) -> anyhow::Result<()> {
    let mut command = process::command(kubenest);
    command.arg("redact").arg(log);
    let redacted = process::Running::start_anyway(&mut command)
        .and_then(|running| running.wait(Some(REDACTING), || {}))
        .and_then(|ended| match ended.status.success() {
            true => Ok(()),
            false => bail!("kubenest redact ended with {}", ended.status),
        });
    redacted.or_else(|error| {
        let aside = log.with_extension("log.raw");
        fs::rename(log, &aside).with_context(|| format!("put {} aside", log.display()))?;
        fs::set_permissions(&aside, Permissions::from_mode(0o600))?;
        Err(error.context(format!(
            "{} is not redacted, and not shown",
            aside.display()
        )))
    })
}

/// Removes secrets from a line of a running test's log; the result is empty where that fails.
pub(crate) fn redact_line(kubenest: &Path, line: &str) -> String {
    let redact = || -> anyhow::Result<String> {
        let mut line_file = tempfile::tempfile()?;
        line_file.write_all(line.as_bytes())?;
        line_file.seek(SeekFrom::Start(0))?;
        let mut shown = tempfile::tempfile()?;
        let mut command = process::command(kubenest);
        command.arg("redact").stdin(Stdio::from(line_file));
        command.stdout(Stdio::from(shown.try_clone()?));
        let ended = process::Running::start_anyway(&mut command)?.wait(Some(REDACTING), || {})?;
        if !ended.status.success() {
            bail!("kubenest redact ended with {}", ended.status);
        }
        shown.seek(SeekFrom::Start(0))?;
        Ok(std::io::read_to_string(shown)?)
    };
    redact().unwrap_or_default()
}

/// Runs the program with these arguments; its output goes to a file of the run.
pub(crate) fn quietly(kubenest: &Path, dir: &RunDir, args: &[&str]) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A program in the place of `kubenest`.
    fn stand_in(folder: &Path, script: &str) -> std::path::PathBuf {
        let path = folder.join("kubenest");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_log_that_cannot_be_redacted_is_put_aside_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("a.log");
        fs::write(&log, "EMP-42").unwrap();
        let failing = stand_in(folder.path(), "exit 2");
        let error = format!("{:#}", redact_log(&failing, &log).unwrap_err());
        assert!(error.contains("a.log.raw is not redacted"), "{error}");
        assert!(!log.exists());
        let mode = fs::metadata(log.with_extension("log.raw"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(redact_line(&failing, "EMP-42"), "");
    }

    #[test]
    fn a_log_is_written_over_and_a_line_goes_through_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("a.log");
        fs::write(&log, "EMP-42").unwrap();
        let program = stand_in(folder.path(), include_str!("samples/redact.sh"));
        redact_log(&program, &log).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "gone\n");
        assert_eq!(redact_line(&program, "EMP-42 x"), "gone x");
    }
}
