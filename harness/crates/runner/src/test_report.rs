//! The result of one test: what the runner measured, joined with what the library wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use kubenest_protocol::{Cause, Phase, Verdict, VerdictFile};
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::making::{Making, round_to_milliseconds};
use crate::outcome::Outcome;
use crate::package::side_name;
use crate::place::Place;
use crate::plan::{Chosen, Test, with_node};
use crate::stay::{StayLog, Stint};

/// Everything that a report holds about one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TestReport {
    /// The package of the test.
    pub(crate) suite: String,
    /// The target of its program, such as "regression" of `tests/regression.rs`.
    pub(crate) target: String,
    pub(crate) test: String,
    /// "affected", "fixed" or "-".
    pub(crate) side: String,
    /// The node that it ran on in the place of the default one, in a run on several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    pub(crate) verdict: Verdict,
    pub(crate) started: DateTime<Utc>,
    /// Wall-clock seconds, without the time for making what nobody had prepared.
    pub(crate) seconds: f64,
    /// The number of its last slot, from 0; the slots are where tests run side by side.
    pub(crate) slot: usize,
    /// The times during which the test had a slot, if it gave its slot up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stints: Vec<Stint>,
    /// What the test made itself, since nobody had prepared it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unprepared: Vec<Making>,
    /// What the test asked for although its package's manifest does not declare it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) undeclared: Vec<String>,
    /// Seconds of each part: preparing, of all that the test made; image and boot, of the slowest
    /// cluster; gate, body and cleanup, of all cases; refused and shown, from the start of the boot
    /// to the gate's refusal or to the failure.
    pub(crate) phases: BTreeMap<Phase, f64>,
    /// How many clusters were booted for the cases of the test.
    pub(crate) boots: usize,
    /// The versions that the test ran on, such as kubernetes = 1.32.1.
    pub(crate) versions: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed: Option<String>,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// Where in the sources the test failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
    /// The evidence of its failures; that of the failure that decided comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) evidence: Vec<Bundle>,
    /// Path of the log, relative to the run's folder.
    pub(crate) log: String,
    /// The command that runs the test again and leaves its clusters up.
    pub(crate) again: String,
}

/// When and where a test ran.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) started: DateTime<Utc>,
    /// Wall-clock seconds, with the time for making what nobody had prepared.
    pub(crate) seconds: f64,
    /// The history of its slot.
    pub(crate) stays: StayLog,
}

impl TestReport {
    /// Joins what the runner measured with what the library wrote.
    pub(crate) fn new(test: &Test, outcome: Outcome, times: Times) -> Self {
        let Outcome {
            verdict,
            message,
            files,
            evidence,
            place,
            ..
        } = outcome;
        let StayLog { mut stints, made } = times.stays;
        let slot = stints.last().map_or(0, |stint| stint.slot);
        if made.is_empty() {
            stints.clear();
        }
        let preparing: f64 = made.iter().map(|making| making.seconds).sum();
        let mut phases = phases(&files);
        if preparing > 0.0 {
            phases.insert(Phase::Preparing, preparing);
        }
        let boots = boots(&files);
        // For a test with several cases, the case that decided the verdict speaks.
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
            target: test.target.clone(),
            test: test.name.clone(),
            side: side_name(test.side),
            node: test.node().map(str::to_owned),
            verdict,
            started: times.started,
            seconds: round_to_milliseconds((times.seconds - preparing).max(0.0)),
            slot,
            stints,
            unprepared: made,
            undeclared: vec![],
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

    /// The key by which tests are sorted: by suite and with the affected side first, as in the
    /// plan.
    pub(crate) fn order(&self) -> impl Ord + '_ {
        let has_no_side = self.side == side_name(None);
        (
            &self.suite,
            has_no_side,
            &self.side,
            &self.target,
            &self.test,
            &self.node,
            self.started,
        )
    }

    pub(crate) fn is_wanted_by(&self, chosen: &Chosen) -> bool {
        chosen.names(&self.suite, &self.target, &self.test)
    }

    /// Rewrites the paths of a test from another run's `folder`, so that they are relative to
    /// `home`.
    pub(crate) fn move_below(&mut self, folder: &Path, home: &Path) {
        let seen = |path: &Path| below(&folder.join(path), home);
        self.log = seen(Path::new(&self.log)).display().to_string();
        for bundle in &mut self.evidence {
            bundle.path = seen(&bundle.path);
        }
    }

    /// The first cause of each bundle, each cause once.
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

    /// `suite::name`, as the command line takes it.
    pub(crate) fn id(&self) -> String {
        format!("{}::{}", self.suite, self.test)
    }

    /// `suite::name on node`.
    pub(crate) fn title(&self) -> String {
        with_node(&self.id(), self.node.as_deref())
    }

    /// `image 0.1  boot 20.3 …`, in the order in which the phases happen; `boot 20.3 x2` for two
    /// clusters.
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

/// A path relative to the folder `home`; the whole path if it is not inside.
pub(crate) fn below(path: &Path, home: &Path) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.strip_prefix(home).map(Path::to_owned).unwrap_or(path)
}

/// The phases of a test, added up over its cases, which run one after the other. The boot phases
/// are an exception: clusters boot side by side, and each case repeats the times of its cluster, so
/// the longest counts.
fn phases(files: &[VerdictFile]) -> BTreeMap<Phase, f64> {
    let mut phases = BTreeMap::new();
    for (phase, seconds) in files.iter().flat_map(|file| &file.phases) {
        let all: &mut f64 = phases.entry(*phase).or_default();
        *all = match phase {
            Phase::Preparing | Phase::Gate | Phase::Body | Phase::Cleanup => *all + seconds,
            Phase::Image | Phase::Boot | Phase::Refused | Phase::Shown => all.max(*seconds),
        };
    }
    phases
}

/// How many boots there were. Each boot has an id, which tells apart two boots of one cluster name.
fn boots(files: &[VerdictFile]) -> usize {
    let booted = files
        .iter()
        .filter(|file| file.phases.contains_key(&Phase::Boot));
    let boots: BTreeSet<_> = booted.map(|file| (&file.cluster, &file.boot)).collect();
    boots.len()
}

/// Replaces the control characters of a text, so that they cannot reach a terminal or an XML file.
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bundle::Summary;
    use crate::plan::tests::{image_gc, test};

    pub(crate) fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap()
    }

    pub(crate) fn results() -> Vec<TestReport> {
        let package = image_gc();
        let report = |name: &str, verdict, message: Option<&str>, files: Vec<VerdictFile>| {
            let message = message.map(str::to_owned);
            let test = test(&package, name);
            let mut report = TestReport::new(
                &test,
                Outcome {
                    files,
                    ..Outcome::new(verdict, message)
                },
                Times {
                    started: at(0),
                    seconds: 42.25,
                    stays: StayLog::default(),
                },
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
            summary: Some(Summary {
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
        let two = "boot 20.2 x2  body 3.0  shown 2.0";
        let equally_long = [file("a", 20.25, 1.0), file("b", 20.25, 2.0)];
        assert_eq!(report(&equally_long).phase_list(), two);
        let mut of_one_name = one_cluster;
        of_one_name[1].boot = Some("0a1b".to_owned());
        assert_eq!(report(&of_one_name).phase_list(), two);
    }

    #[test]
    fn what_a_test_had_to_make_is_no_part_of_its_time() {
        let stint = |slot, second, seconds| Stint {
            slot,
            started: at(second),
            seconds,
        };
        let stays = StayLog {
            stints: vec![stint(0, 0, 2.0), stint(1, 62, 8.0)],
            made: vec![Making {
                name: "kind 0.27.0".to_owned(),
                started: at(2),
                seconds: 60.0,
                failed: None,
            }],
        };
        let times = Times {
            started: at(0),
            seconds: 70.0,
            stays,
        };
        let test = test(&image_gc(), "fixed::is_kept");
        let report = TestReport::new(&test, Outcome::new(Verdict::Passed, None), times);
        assert_eq!((report.seconds, report.slot), (10.0, 1));
        assert_eq!(report.phases[&Phase::Preparing], 60.0);
        assert_eq!(report.unprepared.len(), 1);
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
    fn the_report_tells_all_of_a_test() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&results()[1]).unwrap());
    }
}
