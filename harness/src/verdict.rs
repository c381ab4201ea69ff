//! Verdicts: more than the passed or failed of a test process.
//!
//! An exit code only says passed or failed. The verdict files also tell a broken set-up from a
//! failed assertion, and carry the data of the report.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use kubenest_protocol::{Phase, Verdict, VerdictFile};

use kubenest_base::{Context, Error, Result, file};
use kubenest_evidence as evidence;

/// A verdict on this thread's test, with all other fields empty.
pub(crate) fn for_this_test(verdict: Verdict) -> VerdictFile {
    // libtest names its threads after the tests.
    VerdictFile::new(thread::current().name().unwrap_or_default(), verdict)
}

/// A pass of this thread's test, which expected the gate's refusal; `after` the start of the boot.
pub(crate) fn wanted_refusal(error: &Error, after: Duration) -> VerdictFile {
    VerdictFile {
        expected: Some("refused by the gate".to_owned()),
        observed: Some(error.report()),
        phases: BTreeMap::from([(Phase::Refused, after.as_secs_f64())]),
        ..for_this_test(Verdict::Passed)
    }
}

/// A set-up failure of this thread's test.
pub(crate) fn broken_setup(message: String) -> VerdictFile {
    VerdictFile {
        message: Some(message),
        ..for_this_test(Verdict::Setup)
    }
}

/// Reports this thread's test as skipped, with the reason: for a test that needs something only the
/// user can provide. The test should then return; the report does not count it as passed.
///
/// libtest cannot express this: a plain `cargo test` still says "ok", and shows the reason on
/// standard error, which it does not capture. cargo-nextest hides the output of passed tests unless
/// `--success-output` is given.
pub fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not `eprintln!`, whose output libtest captures.
    writeln!(io::stderr().lock(), "SKIPPED  {test}: {reason}").ok();
    leave(&VerdictFile {
        message: Some(reason.to_owned()),
        ..for_this_test(Verdict::Skipped)
    });
}

/// Writes a verdict without secrets to the folder in the settings, if there is one.
pub(crate) fn leave(file: &VerdictFile) {
    let Some(folder) = &crate::settings().verdicts else {
        return;
    };
    let written = evidence::redactor(crate::settings()).and_then(|redactor| {
        let redact = |text: &Option<String>| text.as_deref().map(|text| redactor.redact(text));
        let file = VerdictFile {
            expected: redact(&file.expected),
            observed: redact(&file.observed),
            message: redact(&file.message),
            ..file.clone()
        };
        write(folder, &file)
    });
    if let Err(error) = written {
        tracing::warn!("{}", error.report());
    }
}

fn write(folder: &Path, verdict: &VerdictFile) -> Result<()> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    fs::create_dir_all(folder).with_context(|| format!("make '{}'", folder.display()))?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The names sort in the order of writing.
    let name = format!("verdict-{}-{count:04}.json", std::process::id());
    let text = serde_json::to_vec_pretty(verdict).context("write a verdict")?;
    file::write(&folder.join(name), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubenest_base::process::Command;

    #[test]
    #[ignore = "run by the test below"]
    fn a_test_that_must_be_skipped() {
        skip("no CRI-O given");
    }

    #[tokio::test]
    async fn a_skipped_test_says_so_where_libtest_does_not_capture_it() {
        let own = std::env::current_exe().unwrap();
        let name = "verdict::tests::a_test_that_must_be_skipped";
        let run = Command::new(own).args([name, "--exact", "--ignored"]);
        let output = run.env("KUBENEST_VERDICTS", "").run().await.unwrap();
        let said = format!("SKIPPED  {name}: no CRI-O given\n");
        assert_eq!(output.stderr, said, "{}", output.stdout);
    }

    #[test]
    fn a_verdict_is_written_whole_under_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &broken_setup("no disk".into())).unwrap();
        let files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].extension().unwrap(), "json");
        let text = fs::read_to_string(&files[0]).unwrap();
        assert!(text.contains(r#""verdict": "setup""#), "{text}");
        assert!(text.contains("a_verdict_is_written_whole"), "{text}");
    }
}
