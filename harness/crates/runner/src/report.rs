//! The results of a run: `report.json`, the totals and the exit code.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kubenest_protocol::{Cause, Phase, Verdict, VerdictFile, exit};
use serde::Serialize;

use crate::bundle::Bundle;
use crate::package::{Side, side_name};
use crate::place::Place;
use crate::plan::Test;
use crate::runner::Outcome;
use crate::saved::Saved;

/// A whole run, as `report.json` holds it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) run: String,
    pub(crate) started: DateTime<Utc>,
    /// Wall-clock seconds of all tests, without building them.
    pub(crate) seconds: f64,
    pub(crate) exit_code: u8,
    pub(crate) totals: Totals,
    /// What was asked for and ran no test, as "suite affected" or "suite::text".
    pub(crate) nothing_ran: Vec<String>,
    pub(crate) failures: Vec<Saved>,
    pub(crate) tests: Vec<TestReport>,
}

/// One test, whole.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TestReport {
    pub(crate) suite: String,
    pub(crate) test: String,
    /// "affected", "fixed" or "-".
    pub(crate) side: String,
    pub(crate) verdict: Verdict,
    pub(crate) seconds: f64,
    /// Seconds of each part: image and boot of the slowest cluster; gate, body and cleanup of
    /// all cases; and from the start of the boot to the gate's refusal (refused) or to the
    /// failure (shown).
    pub(crate) phases: BTreeMap<Phase, f64>,
    /// How many clusters were booted for its cases.
    pub(crate) boots: usize,
    /// What ran, such as kubernetes = 1.32.1.
    pub(crate) versions: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observed: Option<String>,
    /// Why it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// Where it failed in the sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
    /// What was collected of its failures; that of the one that decided comes first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) evidence: Vec<Bundle>,
    /// The log, seen from the run's folder.
    pub(crate) log: String,
    /// The command that runs it again and leaves its clusters up.
    pub(crate) again: String,
}

/// How many tests ended how.
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

impl TestReport {
    /// Joins what the runner measured with what the library wrote.
    pub(crate) fn new(test: &Test, outcome: Outcome, seconds: f64) -> Self {
        let Outcome {
            verdict,
            message,
            files,
            evidence,
            place,
        } = outcome;
        let phases = phases(&files);
        let boots = boots(&files);
        // A test with several cases is told by the one that decided it.
        let telling = files.iter().find(|file| file.verdict == verdict);
        let telling = telling.or(files.last());
        let told = |said: fn(&VerdictFile) -> &Option<String>| {
            let said = telling.and_then(|file| said(file).clone());
            said.map(printable)
        };
        let versions = files
            .iter()
            .flat_map(|file| file.versions.clone())
            .filter(|(_, version)| !version.is_empty())
            .collect();
        Self {
            suite: test.package.name.clone(),
            test: test.name.clone(),
            side: side_name(test.side),
            verdict,
            seconds,
            phases,
            boots,
            versions,
            expected: told(|file| &file.expected),
            observed: told(|file| &file.observed),
            message: message.map(printable),
            place,
            evidence,
            log: String::new(),
            again: String::new(),
        }
    }

    /// The first cause of each of its bundles; what several say is said once.
    pub(crate) fn causes(&self) -> Vec<&Cause> {
        let mut causes: Vec<_> = self.evidence.iter().filter_map(Bundle::cause).collect();
        causes.dedup();
        causes
    }

    /// `containerd 1.7.1, kubernetes 1.32.1`.
    pub(crate) fn version_list(&self) -> String {
        let all = self.versions.iter();
        let all = all.map(|(name, version)| format!("{name} {version}"));
        all.collect::<Vec<_>>().join(", ")
    }

    /// `suite::name`, as `e2e` takes it.
    pub(crate) fn id(&self) -> String {
        format!("{}::{}", self.suite, self.test)
    }

    /// `image 0.1  boot 20.3 …`, in the order things happen; of several clusters `boot 20.3 x2`.
    pub(crate) fn phase_list(&self) -> String {
        let all = self.phases.iter().map(|(phase, seconds)| {
            let times = match (phase, self.boots) {
                (Phase::Boot, 2..) => format!(" x{}", self.boots),
                _ => String::new(),
            };
            format!("{phase} {seconds:.1}{times}")
        });
        all.collect::<Vec<_>>().join("  ")
    }
}

/// What a test's cases, one after the other, took. Clusters boot side by side, and each case
/// repeats the boot of its cluster: of those the longest counts.
fn phases(files: &[VerdictFile]) -> BTreeMap<Phase, f64> {
    let mut phases = BTreeMap::new();
    for (phase, seconds) in files.iter().flat_map(|file| &file.phases) {
        let all: &mut f64 = phases.entry(*phase).or_default();
        *all = match phase {
            Phase::Gate | Phase::Body | Phase::Cleanup => *all + seconds,
            Phase::Image | Phase::Boot | Phase::Refused | Phase::Shown => all.max(*seconds),
        };
    }
    phases
}

/// How many clusters booted.
fn boots(files: &[VerdictFile]) -> usize {
    let booted = files
        .iter()
        .filter(|file| file.phases.contains_key(&Phase::Boot));
    let clusters: BTreeSet<_> = booted.map(|file| &file.cluster).collect();
    clusters.len()
}

/// A text whose control characters cannot reach a terminal or an XML file.
pub(crate) fn printable(text: String) -> String {
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(plain) {
        return text;
    }
    let shown = text.chars().map(|c| match plain(c) {
        true => c.to_string(),
        false => c.escape_default().to_string(),
    });
    shown.collect()
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

/// The sides owed of which no test ran.
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

/// The worst news decides. A broken set-up comes first: it may hide anything.
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

/// The closing line in libtest's form, which CI systems read.
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
        // libtest has no word for skipped.
        totals.ignored + totals.skipped,
        totals.filtered_out,
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bundle::Told;
    use crate::plan::tests::{image_gc, test};

    pub(crate) fn results() -> Vec<TestReport> {
        let package = image_gc();
        let report = |name: &str, verdict, message: Option<&str>, files: Vec<VerdictFile>| {
            let message = message.map(str::to_owned);
            let test = test(&package, name);
            let mut report = TestReport::new(
                &test,
                Outcome {
                    verdict,
                    message,
                    files,
                    evidence: vec![],
                    place: None,
                },
                42.25,
            );
            report.again = format!("cargo xtask e2e {} --keep", test.id());
            report.log = format!("logs/image-gc/regression.{}.log", name.replace("::", "."));
            report
        };
        let file = |verdict| VerdictFile {
            cluster: Some("kn-1".to_owned()),
            versions: BTreeMap::from([("containerd".to_owned(), "1.7.1".to_owned())]),
            expected: Some("image present on gc-worker".to_owned()),
            observed: Some("absent after 49s".to_owned()),
            phases: BTreeMap::from([(Phase::Boot, 20.0), (Phase::Image, 0.5)]),
            ..VerdictFile::new("a", verdict)
        };
        let mut results = vec![
            report(
                "affected::is_lost",
                Verdict::Passed,
                None,
                vec![file(Verdict::Passed)],
            ),
            report(
                "fixed::is_kept",
                Verdict::Failed,
                Some("pinned image was collected\nat 49s"),
                vec![file(Verdict::Passed), file(Verdict::Failed)],
            ),
            report(
                "fixed::boots",
                Verdict::Setup,
                Some("kubelet keeps exiting: exit 1"),
                vec![],
            ),
        ];
        results[1].place = Some(Place {
            file: "suites/image-gc/tests/regression.rs".to_owned(),
            line: 9,
        });
        results[1].evidence = vec![Bundle {
            path: "evidence/is_kept-20260101T000100Z-7".into(),
            told: Some(Told {
                cause: Some(Cause {
                    title: "image collected".to_owned(),
                    cause: "the kubelet removed the image 'a:1' <to free bytes>".to_owned(),
                    cure: "pin it".to_owned(),
                }),
                files: 9,
                missing: 1,
            }),
        }];
        results
    }

    pub(crate) fn report() -> Report {
        let tests = results();
        Report {
            run: "20260101-000000-1".to_owned(),
            started: DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
            seconds: 126.75,
            exit_code: exit::SETUP_FAILED,
            totals: Totals::of(&tests, 0),
            nothing_ran: vec![],
            failures: vec![],
            tests,
        }
    }

    #[test]
    fn phases_of_several_cases_add_up_in_order_and_a_boot_counts_once() {
        let file = |cluster: &str, boot: f64, body: f64| VerdictFile {
            cluster: Some(cluster.to_owned()),
            phases: [
                (Phase::Boot, boot),
                (Phase::Body, body),
                (Phase::Shown, body),
            ]
            .into(),
            ..VerdictFile::new("a", Verdict::Passed)
        };
        let report = |files: &[VerdictFile]| TestReport {
            phases: phases(files),
            boots: boots(files),
            ..results().remove(0)
        };
        let one_cluster = [file("a", 20.25, 1.0), file("a", 20.25, 2.0)];
        assert_eq!(
            report(&one_cluster).phase_list(),
            "boot 20.2  body 3.0  shown 2.0"
        );
        let three = [
            file("a", 20.25, 1.0),
            file("b", 29.0, 2.0),
            file("c", 20.5, 0.5),
        ];
        assert_eq!(
            report(&three).phase_list(),
            "boot 29.0 x3  body 3.5  shown 2.0"
        );
        let equally_long = [file("a", 20.25, 1.0), file("b", 20.25, 2.0)];
        assert_eq!(
            report(&equally_long).phase_list(),
            "boot 20.2 x2  body 3.0  shown 2.0"
        );
    }

    #[test]
    fn what_a_program_said_cannot_drive_the_terminal() {
        let said = "red \u{1b}[31m,\r a nul \0\tand ü\n";
        assert_eq!(
            printable(said.into()),
            "red \\u{1b}[31m,\\r a nul \\u{0}\tand ü\n"
        );
    }

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

    #[test]
    fn the_report_tells_all_of_a_test() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&results()[1]).unwrap());
    }
}
