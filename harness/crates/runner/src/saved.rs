//! The time that the gate saves: how soon it refuses each failure, and how late a test meets it.

use kubenest_protocol::Phase;
use serde::Serialize;

use crate::test_report::TestReport;

/// The times of one suite's failure, in seconds since the start of the boot.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct GateSaving {
    pub(crate) suite: String,
    /// When the gate refuses the nodes; the slowest refusal.
    pub(crate) refused: Option<f64>,
    /// When the failure shows without the gate; the soonest time.
    pub(crate) shown: Option<f64>,
}

/// The failures for which a test measured a time, in the order of the tests.
pub(crate) fn gate_savings(tests: &[TestReport]) -> Vec<GateSaving> {
    let mut all: Vec<GateSaving> = Vec::new();
    for test in tests {
        let of = |phase| test.phases.get(&phase).copied();
        let (refused, shown) = (of(Phase::Refused), of(Phase::Shown));
        if refused.is_none() && shown.is_none() {
            continue;
        }
        match all.iter_mut().find(|one| one.suite == test.suite) {
            Some(one) => {
                one.refused = fold(one.refused, refused, f64::max);
                one.shown = fold(one.shown, shown, f64::min);
            }
            None => all.push(GateSaving {
                suite: test.suite.clone(),
                refused,
                shown,
            }),
        }
    }
    all
}

fn fold(one: Option<f64>, other: Option<f64>, of: fn(f64, f64) -> f64) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(of(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_report::tests::results;

    #[test]
    fn the_slowest_refusal_stands_beside_the_soonest_failure() {
        let mut tests = results();
        assert_eq!(gate_savings(&tests), []);
        for (test, phase, seconds) in [
            (0, Phase::Refused, 0.1),
            (0, Phase::Shown, 30.0),
            (1, Phase::Refused, 3.0),
            (1, Phase::Shown, 21.0),
        ] {
            tests[test].phases.insert(phase, seconds);
        }
        let expected = GateSaving {
            suite: "image-gc".to_owned(),
            refused: Some(3.0),
            shown: Some(21.0),
        };
        assert_eq!(gate_savings(&tests), [expected]);
    }
}
