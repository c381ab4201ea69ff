//! The totals of a run: the number of tests by verdict, the exit code and the closing line.

use kubenest_protocol::{Verdict, exit};
use serde::Serialize;

use crate::package::Side;
use crate::test_report::TestReport;

/// The number of tests by verdict.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) setup: usize,
    pub(crate) ignored: usize,
    pub(crate) skipped: usize,
    pub(crate) interrupted: usize,
    pub(crate) filtered_out: usize,
}

impl Totals {
    pub(crate) fn of(tests: &[TestReport], filtered_out: usize) -> Self {
        let count = |verdict| tests.iter().filter(|test| test.verdict == verdict).count();
        Self {
            passed: count(Verdict::Passed),
            failed: count(Verdict::Failed),
            setup: count(Verdict::Setup),
            ignored: count(Verdict::Ignored),
            skipped: count(Verdict::Skipped),
            interrupted: count(Verdict::Interrupted),
            filtered_out,
        }
    }

    fn ran(&self) -> usize {
        self.passed + self.failed + self.setup + self.interrupted
    }
}

/// The sides that the run must have and of which no test ran.
pub(crate) fn missing_sides(owed: &[(String, Side)], tests: &[TestReport]) -> Vec<String> {
    let ran = |suite: &str, side: Side| {
        let of_side = |test: &&TestReport| test.suite == suite && test.side == side.to_string();
        tests
            .iter()
            .filter(of_side)
            .any(|test| !matches!(test.verdict, Verdict::Ignored | Verdict::Skipped))
    };
    let missing = owed.iter().filter(|(suite, side)| !ran(suite, *side));
    missing
        .map(|(suite, side)| format!("{suite} {side}"))
        .collect()
}

/// The exit code of the worst outcome. A broken set-up ranks first, because it may hide anything.
pub(crate) fn exit_code(totals: &Totals, missing: &[String]) -> u8 {
    if totals.setup > 0 {
        exit::SETUP_FAILED
    } else if totals.failed > 0 {
        exit::TEST_FAILED
    } else if totals.ran() == 0 || !missing.is_empty() {
        exit::NOTHING_RAN
    } else {
        exit::OK
    }
}

/// The closing line in the form of libtest's, which CI systems read.
pub(crate) fn closing_line(totals: &Totals, exit_code: u8, seconds: f64) -> String {
    format!(
        "test result: {}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; \
         finished in {seconds:.2}s",
        if exit_code == exit::OK {
            "ok"
        } else {
            "FAILED"
        },
        totals.passed,
        totals.failed + totals.setup + totals.interrupted,
        // libtest's line has no place for skipped tests.
        totals.ignored + totals.skipped,
        totals.filtered_out,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_report::tests::results;

    #[test]
    fn a_broken_set_up_outranks_a_failure() {
        let totals = Totals {
            passed: 3,
            failed: 1,
            setup: 1,
            ..Totals::default()
        };
        assert_eq!(exit_code(&totals, &[]), exit::SETUP_FAILED);
        assert_eq!(
            exit_code(&Totals { setup: 0, ..totals }, &[]),
            exit::TEST_FAILED
        );
        assert_eq!(
            exit_code(
                &Totals {
                    setup: 0,
                    failed: 0,
                    ..totals
                },
                &[]
            ),
            exit::OK
        );
    }

    #[test]
    fn nothing_ran_is_no_success() {
        assert_eq!(exit_code(&Totals::default(), &[]), exit::NOTHING_RAN);
        let ignored = Totals {
            ignored: 2,
            ..Totals::default()
        };
        assert_eq!(exit_code(&ignored, &[]), exit::NOTHING_RAN);
        let passed = Totals {
            passed: 2,
            ..Totals::default()
        };
        assert_eq!(
            exit_code(&passed, &["image-gc affected".to_owned()]),
            exit::NOTHING_RAN
        );
    }

    #[test]
    fn a_side_with_only_ignored_or_skipped_tests_is_missing() {
        let owed = [
            ("image-gc".to_owned(), Side::Affected),
            ("image-gc".to_owned(), Side::Fixed),
        ];
        let mut results = results();
        assert!(missing_sides(&owed, &results).is_empty());
        for verdict in [Verdict::Ignored, Verdict::Skipped] {
            results[0].verdict = verdict;
            assert_eq!(missing_sides(&owed, &results), ["image-gc affected"]);
        }
    }

    #[test]
    fn the_closing_line_is_libtests() {
        let totals = Totals::of(&results(), 4);
        insta::assert_snapshot!(
            closing_line(&totals, exit_code(&totals, &[]), 12.3),
            @"test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 12.30s"
        );
    }
}
