//! The text that a person sees for a test: one line for each, and a block below a failed one.

use std::path::Path;

use kubenest_protocol::{Verdict, exit};

use crate::plan::with_node;
use crate::test_report::TestReport;

/// The block below a failed test; `dir` is the run's folder as a user would type it.
pub(crate) fn block(test: &TestReport, dir: &str) -> String {
    let (word, reason) = match test.verdict {
        Verdict::Setup => ("SETUP", format!("set-up, exit {}", exit::SETUP_FAILED)),
        _ => ("FAILED", format!("assertion, exit {}", exit::TEST_FAILED)),
    };
    let mut block = format!("{word} {}     ({reason})\n", test.title());
    let mut line = |key: &str, value: &str| {
        // Indents the further lines of a value below its first line.
        let value = value.trim_end().replace('\n', "\n          ");
        block.push_str(&format!("{key:<10}{value}\n"));
    };
    if !test.versions.is_empty() {
        line("versions", &test.version_list());
    }
    if let Some(expected) = &test.expected {
        line("expected", expected);
    }
    if let Some(observed) = &test.observed {
        line("observed", observed);
    }
    if let Some(message) = &test.message {
        line("message", message);
    }
    for cause in test.causes() {
        line("cause", &format!("{}: {}", cause.title, cause.cause));
        line("cure", &cause.cure);
    }
    for bundle in &test.evidence {
        let page = Path::new(dir).join(bundle.page());
        line(
            "evidence",
            &format!("{}{}", page.display(), bundle.extent()),
        );
    }
    line("log", &format!("{dir}/{}", test.log));
    line("keep it", &test.again);
    block
}

/// One line for a test: verdict, suite, side, name, seconds, and the seconds of each phase.
pub(crate) fn line(test: &TestReport) -> String {
    let TestReport {
        suite,
        side,
        test: name,
        seconds,
        ..
    } = test;
    let word = word(test.verdict);
    let name = with_node(below_side(name, side), test.node.as_deref());
    let last = match &test.message {
        Some(reason) if test.verdict == Verdict::Skipped => reason.clone(),
        _ => test.phase_list(),
    };
    let line = format!("{word:<7}  {suite}  {side}  {name}  {seconds:.1}s  {last}");
    line.trim_end().to_owned()
}

/// A test's name without its side, which stands in a column of its own.
pub(crate) fn below_side<'a>(name: &'a str, side: &str) -> &'a str {
    let below = name.strip_prefix(side);
    below
        .and_then(|name| name.strip_prefix("::"))
        .unwrap_or(name)
}

/// The verdict as the word that starts a line.
pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "PASS",
        Verdict::Failed => "FAILED",
        Verdict::Setup => "SETUP",
        Verdict::Ignored => "IGNORED",
        Verdict::Skipped => "SKIPPED",
        Verdict::Interrupted => "STOPPED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_report::tests::results;

    #[test]
    fn an_assertion_tells_expected_and_observed() {
        insta::assert_snapshot!(block(&results()[1], "target/e2e/r"));
    }

    #[test]
    fn a_broken_set_up_is_told_apart() {
        insta::assert_snapshot!(block(&results()[2], "target/e2e/r"));
    }

    #[test]
    fn a_line_holds_the_verdict_first_and_the_phases_last() {
        let mut results = results();
        results.push(TestReport {
            verdict: Verdict::Skipped,
            message: Some("no CRI-O given".to_owned()),
            ..results[0].clone()
        });
        let lines: Vec<_> = results.iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        PASS     image-gc  affected  is_lost  42.2s  image 0.5  boot 20.0
        FAILED   image-gc  fixed  is_kept  42.2s  image 0.5  boot 20.0
        SETUP    image-gc  fixed  boots  42.2s
        SKIPPED  image-gc  affected  is_lost  42.2s  no CRI-O given
        ");
    }
}
