//! The meaning of a finished test process: passed, failed, or nothing known because the set-up
//! broke.
//!
//! An exit code can only say success or not. The library writes what it saw into verdict files.
//! This module weighs both, and never takes a failed assertion for a broken set-up.

use std::path::Path;
use std::process::ExitStatus;

use anyhow::Context;
use kubenest_protocol::{Verdict, VerdictFile};

/// The facts about a process that has ended.
pub(crate) struct Facts<'a> {
    pub(crate) status: ExitStatus,
    /// Whether it was stopped because its time was up.
    pub(crate) timed_out: bool,
    /// Whether the run was interrupted during the test.
    pub(crate) interrupted: bool,
    /// The end of its log.
    pub(crate) log: &'a str,
    pub(crate) files: &'a [VerdictFile],
    /// Whether the suite reproduces a failure; a broken set-up can then never be a success.
    pub(crate) has_sides: bool,
}

/// Judges the process and its verdict files; the text gives the reason unless the test passed.
pub(crate) fn judge(facts: &Facts<'_>) -> (Verdict, Option<String>) {
    let said = |verdict| facts.files.iter().find(|file| file.verdict == verdict);
    let message = |file: &VerdictFile| file.message.clone();
    let failure = |file: &VerdictFile| failure(file.message.as_deref(), facts.log);
    let last_words = || last_words(facts.log);
    if facts.interrupted && !facts.status.success() {
        return (Verdict::Interrupted, None);
    }
    if facts.timed_out {
        let last = last_words()
            .map(|last| format!("; last seen: {last}"))
            .unwrap_or_default();
        return (
            Verdict::Setup,
            Some(format!("stopped: its time was up{last}")),
        );
    }
    if facts.status.success() {
        let broken = said(Verdict::Setup).filter(|_| facts.has_sides);
        if let (None, Some(skipped)) = (broken, said(Verdict::Skipped)) {
            return (Verdict::Skipped, message(skipped));
        }
        // A verdict file proves that the test ran. Only without one does libtest's own output
        // decide.
        let ran = !facts.files.is_empty() || ran_one_test(facts.log);
        return match (broken, ran, ignored_one_test(facts.log)) {
            (Some(broken), ..) => (Verdict::Setup, message(broken)),
            (None, true, _) => (Verdict::Passed, None),
            (None, false, true) => (Verdict::Ignored, None),
            (None, false, false) => (
                Verdict::Setup,
                Some("the process ended before its test did".to_owned()),
            ),
        };
    }
    if let Some(broken) = said(Verdict::Setup) {
        return (Verdict::Setup, failure(broken));
    }
    if let Some(failed) = said(Verdict::Failed) {
        return (Verdict::Failed, failure(failed));
    }
    if facts.status.code() == Some(LIBTEST_FAILED) && panic_message(facts.log).is_some() {
        return (Verdict::Failed, last_words());
    }
    let last = last_words()
        .map(|last| format!(": {last}"))
        .unwrap_or_default();
    (
        Verdict::Setup,
        Some(format!(
            "no verdict; the process ended with {}{last}",
            facts.status
        )),
    )
}

/// The exit code of a libtest program in which a test failed.
const LIBTEST_FAILED: i32 = 101;

/// Reads the verdict files of one test; there are none if the folder does not exist.
pub(crate) fn read(dir: &Path) -> anyhow::Result<Vec<VerdictFile>> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(vec![]);
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("list {}", dir.display()))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("verdict file {}", path.display()))
    };
    paths.iter().map(read).collect()
}

/// Whether libtest's own output says that exactly one test ran.
fn ran_one_test(log: &str) -> bool {
    log.lines()
        .any(|line| line.starts_with("test result: ok. 1 passed; 0 failed; 0 ignored;"))
}

fn ignored_one_test(log: &str) -> bool {
    log.lines()
        .any(|line| line.starts_with("test result: ok. 0 passed; 0 failed; 1 ignored;"))
}

/// The message of a failed test: its panic or error, and below it what the library said, if that is
/// something else, such as a failure that the test is about.
fn failure(said: Option<&str>, log: &str) -> Option<String> {
    let Some(said) = said.map(str::trim).filter(|said| !said.is_empty()) else {
        return last_words(log);
    };
    Some(match panic_message(log) {
        Some(panic) if !quotes_message(&panic, said) && !said.contains(&panic) => {
            format!("{panic}\nbefore that: {said}")
        }
        _ => said.to_owned(),
    })
}

/// Whether a panic quotes what the library said. A debug format puts each cause on a line of its
/// own, and the panic still has the secrets that the library removed.
fn quotes_message(panic: &str, said: &str) -> bool {
    let first = said.lines().next().unwrap_or_default();
    let mut parts = first
        .split(": ")
        .flat_map(|cause| cause.split("[redacted "));
    parts.all(|part| panic.contains(part.rsplit(']').next().unwrap_or_default()))
}

/// The error message of a test: its panic, or the error that it returned.
fn last_words(log: &str) -> Option<String> {
    panic_message(log)
        .or_else(|| returned_error(log))
        .or_else(|| {
            let last = log.lines().rfind(|line| !line.trim().is_empty())?;
            Some(last.trim().to_owned())
        })
}

fn panic_message(log: &str) -> Option<String> {
    let mut lines = log
        .lines()
        .skip_while(|line| !(line.starts_with("thread '") && line.contains("panicked at ")));
    lines.next()?;
    paragraph(lines)
}

fn returned_error(log: &str) -> Option<String> {
    let start = log.find("\nError: ").map(|at| at + "\nError: ".len());
    let start = start.or_else(|| log.starts_with("Error: ").then_some("Error: ".len()))?;
    paragraph(log[start..].lines())
}

/// The lines up to those that libtest and the standard library add after a message.
fn paragraph<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let ends = |line: &str| {
        line.starts_with("note: ")
            || line.eq_ignore_ascii_case("stack backtrace:")
            || line.starts_with("test ")
            || line.starts_with("failures:")
    };
    let text: Vec<_> = lines.take_while(|line| !ends(line)).collect();
    let text = text.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const PASSED: &str = "running 1 test\ntest a ... ok\n\n\
        test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out\n";
    const PANICKED: &str = "running 1 test\n\n\
        thread 'affected::a' (77) panicked at suites/x/tests/regression.rs:9:5:\n\
        assertion failed: absent\n  left: 1\n right: 2\n\
        note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
        test affected::a ... FAILED\n";
    const RETURNED: &str = "running 1 test\nError: boot the cluster\n\nCaused by:\n    \
        no engine\ntest affected::a ... FAILED\n\nfailures:\n";

    fn file(verdict: Verdict, message: &str) -> VerdictFile {
        VerdictFile {
            message: Some(message.to_owned()),
            ..VerdictFile::new("a", verdict)
        }
    }

    fn judge_end(wait_status: i32, log: &str, files: &[VerdictFile]) -> (Verdict, String) {
        let (verdict, message) = judge(&Facts {
            status: ExitStatus::from_raw(wait_status),
            timed_out: false,
            interrupted: false,
            log,
            files,
            has_sides: true,
        });
        (verdict, message.unwrap_or_default())
    }

    const EXIT_101: i32 = 101 << 8;
    const KILLED: i32 = 9;

    #[test]
    fn a_clean_end_passes() {
        assert_eq!(judge_end(0, PASSED, &[]).0, Verdict::Passed);
        assert_eq!(
            judge_end(0, PASSED, &[file(Verdict::Passed, "")]).0,
            Verdict::Passed
        );
    }

    #[test]
    fn an_asserted_failure_of_a_case_is_red_as_wanted() {
        assert_eq!(
            judge_end(0, PASSED, &[file(Verdict::Failed, "absent")]).0,
            Verdict::Passed
        );
    }

    #[test]
    fn a_broken_set_up_never_passes_on_a_side() {
        let broken = [file(Verdict::Setup, "kubelet keeps exiting")];
        let setup = (Verdict::Setup, "kubelet keeps exiting".to_owned());
        assert_eq!(judge_end(0, PASSED, &broken), setup);
        assert_eq!(judge_end(EXIT_101, RETURNED, &broken), setup);
        assert_eq!(judge_end(EXIT_101, PANICKED, &broken).0, Verdict::Setup);
    }

    #[test]
    fn a_verdict_file_is_believed_whatever_libtest_prints() {
        let said = [file(Verdict::Passed, "")];
        for log in [
            "",
            "test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured\n",
        ] {
            assert_eq!(judge_end(0, log, &said).0, Verdict::Passed, "{log}");
        }
    }

    #[test]
    fn a_process_that_skips_its_test_does_not_pass() {
        assert_eq!(judge_end(0, "running 1 test\n", &[]).0, Verdict::Setup);
        let ignored = "test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured\n";
        assert_eq!(judge_end(0, ignored, &[]).0, Verdict::Ignored);
    }

    #[test]
    fn a_test_that_says_so_is_skipped_and_never_when_it_fails() {
        let skipped = [file(Verdict::Skipped, "no CRI-O given")];
        let told = (Verdict::Skipped, "no CRI-O given".to_owned());
        assert_eq!(judge_end(0, PASSED, &skipped), told);
        assert_eq!(judge_end(EXIT_101, PANICKED, &skipped).0, Verdict::Failed);
    }

    #[test]
    fn an_assertion_fails_with_its_own_words() {
        let words = "assertion failed: absent\n  left: 1\n right: 2".to_owned();
        assert_eq!(judge_end(EXIT_101, PANICKED, &[]), (Verdict::Failed, words));
        let said = [file(Verdict::Failed, "assertion failed: absent")];
        let failed = (Verdict::Failed, "assertion failed: absent".to_owned());
        assert_eq!(judge_end(EXIT_101, PANICKED, &said), failed);
        let unwrapped = "thread 'a' (1) panicked at x.rs:9:5:\n\
            no token abc in: log in\n\nCaused by:\n    refused\n";
        let said = "no token [redacted token] in: log in: refused";
        let failed = (Verdict::Failed, said.to_owned());
        let files = [file(Verdict::Failed, said)];
        assert_eq!(judge_end(EXIT_101, unwrapped, &files), failed);
    }

    #[test]
    fn an_assertion_is_told_before_the_failure_that_the_test_was_about() {
        for verdict in [Verdict::Failed, Verdict::Setup] {
            let said = [file(verdict, "image is absent")];
            let words = "assertion failed: absent\n  left: 1\n right: 2\n\
                before that: image is absent";
            let failed = (verdict, words.to_owned());
            assert_eq!(judge_end(EXIT_101, PANICKED, &said), failed);
        }
    }

    #[test]
    fn an_error_without_an_assertion_is_a_broken_set_up() {
        let (verdict, message) = judge_end(EXIT_101, RETURNED, &[]);
        assert_eq!(verdict, Verdict::Setup);
        insta::assert_snapshot!(message, @"
        no verdict; the process ended with exit status: 101: boot the cluster

        Caused by:
            no engine
        ");
    }

    #[test]
    fn a_killed_process_is_a_broken_set_up() {
        let (verdict, message) = judge_end(KILLED, "booting node\n\n", &[]);
        assert_eq!(verdict, Verdict::Setup);
        assert_eq!(
            message,
            "no verdict; the process ended with signal: 9 (SIGKILL): booting node"
        );
    }
}
