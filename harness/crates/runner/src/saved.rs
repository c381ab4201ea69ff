//! What the gate saves: for each failure, how soon it is refused and how late it shows.

use kubenest_protocol::Phase;
use serde::Serialize;

use crate::test_report::TestReport;

/// One suite's failure, in seconds since the boot began.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Saved {
    pub(crate) suite: String,
    /// The gate's verdict, at its slowest.
    pub(crate) refused: Option<f64>,
    /// Where the failure shows without the gate, at its soonest.
    pub(crate) shown: Option<f64>,
}

/// The failures of which a test measured something, in the order of the tests.
pub(crate) fn saved(tests: &[TestReport]) -> Vec<Saved> {
    let mut all: Vec<Saved> = Vec::new();
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
            None => all.push(Saved {
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
        assert_eq!(saved(&tests), []);
        for (test, phase, seconds) in [
            (0, Phase::Refused, 0.1),
            (0, Phase::Shown, 30.0),
            (1, Phase::Refused, 3.0),
            (1, Phase::Shown, 21.0),
        ] {
            tests[test].phases.insert(phase, seconds);
        }
        let expected = Saved {
            suite: "image-gc".to_owned(),
            refused: Some(3.0),
            shown: Some(21.0),
        };
        assert_eq!(saved(&tests), [expected]);
    }
}
