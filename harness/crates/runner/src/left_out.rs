//! The tests that a run leaves out, and why: what they need takes too long to make, or there is no
//! time for them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kubenest_protocol::preparing::{Memory, Timing};

use crate::package::Side;
use crate::plan::{Plan, Test};

/// A test that the run leaves out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    package: String,
    side: Option<Side>,
    /// One line about the test, for the end of the run.
    pub(crate) line: String,
}

impl LeftOut {
    fn new(test: &Test, why: &str) -> Self {
        Self {
            package: test.package.name.clone(),
            side: test.side,
            line: format!("LEFT OUT {}, {why}", test.whole_name()),
        }
    }

    /// Whether the test is of this package and on this side.
    pub(crate) fn is_of(&self, package: &str, side: Side) -> bool {
        self.package == package && self.side == Some(side)
    }
}

impl Plan {
    /// Takes away the tests that declare a need with one of these texts in its name.
    pub(crate) fn leave_out_by_need(&mut self, needs: &[String]) -> Vec<LeftOut> {
        self.take_away(|test| {
            let is_met = |need: &String| needs.iter().any(|text| need.contains(text));
            let met = test.declared().into_iter().find(is_met)?;
            Some(format!("which needs {met}"))
        })
    }

    /// Takes away the tests for which there is no time, `jobs` running side by side: those whose
    /// last run was most recent. A test that has never run stays, as does one that its manifest
    /// says always runs; where there is none of these, the one that has waited longest.
    pub(crate) fn leave_out_by_time(
        &mut self,
        within: Duration,
        jobs: usize,
        memory: &Memory,
    ) -> Vec<LeftOut> {
        let time = within.as_secs().saturating_mul(jobs as u64);
        let timing = |test: &Test| memory.tests.get(&test.whole_name())?.timing;
        let (always, mut others): (Vec<_>, Vec<_>) = self
            .tests
            .iter()
            .filter_map(|test| Some((test, timing(test)?)))
            .partition(|(test, _)| test.always_runs());
        others.sort_by_key(|(test, timing)| (timing.ended, test.whole_name()));
        let mut taken: u64 = always.iter().map(|(_, timing)| timing.seconds).sum();
        let has_new = self.tests.iter().any(|test| timing(test).is_none());
        let mut out = Vec::new();
        for (test, timing) in others {
            let with_it = taken.saturating_add(timing.seconds);
            if with_it <= time || (taken == 0 && !has_new) {
                taken = with_it;
            } else {
                out.push(test.whole_name());
            }
        }
        self.take_away(|test| {
            let timing = timing(test).filter(|_| out.contains(&test.whole_name()))?;
            Some(format!("for want of time; it ran {}", date(timing)))
        })
    }

    /// Takes away the tests for which there is a reason.
    fn take_away(&mut self, why: impl Fn(&Test) -> Option<String>) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        self.tests.retain(|test| {
            let why = why(test);
            left_out.extend(why.as_deref().map(|why| LeftOut::new(test, why)));
            why.is_none()
        });
        self.filtered_out += left_out.len();
        left_out
    }
}

/// When a test ended and how long it took, for a later run's choice.
pub(crate) fn timing(ended: DateTime<Utc>, seconds: f64) -> Option<Timing> {
    Some(Timing {
        ended: u64::try_from(ended.timestamp()).ok()?,
        // Whole seconds are enough to plan with.
        seconds: Duration::try_from_secs_f64(seconds.ceil()).ok()?.as_secs(),
    })
}

/// When a run ended, such as `2026-11-30 16:45 UTC`.
fn date(timing: Timing) -> String {
    let ended = i64::try_from(timing.ended).ok();
    let ended = ended.and_then(|ended| DateTime::from_timestamp(ended, 0));
    let ended = ended.map(|ended| ended.format("%Y-%m-%d %H:%M UTC").to_string());
    ended.unwrap_or_else(|| "before".to_owned())
}

#[cfg(test)]
mod tests {
    use kubenest_protocol::preparing::LastRun;
    use serde_json::json;

    use super::*;
    use crate::needs::Needs;
    use crate::package::Package;
    use crate::plan::tests::{image_gc, test};

    fn package(table: serde_json::Value) -> Package {
        let mut package = image_gc();
        package.needs = Needs::of(&json!({ "kubenest": table }), &package.dir).unwrap();
        package
    }

    fn plan(package: &Package, names: &[&str]) -> Plan {
        Plan {
            tests: names.iter().map(|name| test(package, name)).collect(),
            filtered_out: 1,
        }
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.tests.iter().map(|test| test.name.as_str()).collect()
    }

    /// The memory of runs that ended at these seconds and took these.
    fn memory(package: &Package, runs: &[(&str, u64, u64)]) -> Memory {
        let runs = runs.iter().map(|(name, ended, seconds)| {
            let timing = Some(Timing {
                ended: *ended,
                seconds: *seconds,
            });
            let last = LastRun {
                timing,
                ..LastRun::default()
            };
            (test(package, name).whole_name(), last)
        });
        Memory {
            tests: runs.collect(),
        }
    }

    fn lines(left_out: &[LeftOut]) -> Vec<&str> {
        left_out.iter().map(|test| test.line.as_str()).collect()
    }

    #[test]
    fn tests_with_a_need_are_left_out_and_named() {
        let needy = package(json!({
            "tests": {"cri_o": ["v1.34.3-cri-o-1.34.0", "crictl 1.34.0"]},
        }));
        let mut plan = plan(&needy, &["fixed::containerd", "fixed::cri_o"]);
        assert!(plan.leave_out_by_need(&[]).is_empty());
        let left_out = plan.leave_out_by_need(&["cri-o-1.34".to_owned()]);
        assert_eq!(
            lines(&left_out),
            ["LEFT OUT image-gc::regression::fixed::cri_o, which needs v1.34.3-cri-o-1.34.0"]
        );
        assert!(left_out[0].is_of("image-gc", Side::Fixed));
        assert!(!left_out[0].is_of("image-gc", Side::Affected));
        assert_eq!(names(&plan), ["fixed::containerd"]);
        assert_eq!(plan.filtered_out, 2);
    }

    #[test]
    fn for_want_of_time_the_latest_are_left_out() {
        let package = package(json!({"always": ["core"]}));
        let memory = memory(
            &package,
            &[
                ("core", 9_000, 50),
                ("late", 8_000, 10),
                ("early", 1_000, 40),
                ("middle", 2_000, 40),
                ("short", 3_000, 5),
            ],
        );
        let all = ["core", "late", "early", "middle", "short", "new"];
        let mut short = plan(&package, &all);
        // Two side by side have 100 seconds: 50 + 40 + 5.
        let left_out = short.leave_out_by_time(Duration::from_secs(50), 2, &memory);
        assert_eq!(names(&short), ["core", "early", "short", "new"]);
        assert_eq!(
            lines(&left_out),
            [
                "LEFT OUT image-gc::regression::late, for want of time; it ran 1970-01-01 02:13 UTC",
                "LEFT OUT image-gc::regression::middle, for want of time; it ran 1970-01-01 00:33 UTC"
            ]
        );
        let mut long = plan(&package, &all);
        assert_eq!(
            long.leave_out_by_time(Duration::from_secs(600), 2, &memory),
            []
        );
        assert_eq!(names(&long), all);
    }

    #[test]
    fn one_test_runs_however_short_the_time_is() {
        let package = package(json!({}));
        let memory = memory(&package, &[("long", 1_000, 900), ("short", 2_000, 1)]);
        let in_a_minute = |all: &[&str]| {
            let mut plan = plan(&package, all);
            plan.leave_out_by_time(Duration::from_secs(60), 3, &memory);
            plan.tests
                .into_iter()
                .map(|test| test.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(in_a_minute(&["short", "long"]), ["long"]);
        assert_eq!(in_a_minute(&["short", "long", "new"]), ["short", "new"]);
    }
}
