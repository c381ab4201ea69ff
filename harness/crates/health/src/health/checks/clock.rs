//! Check `clock`: the node's clock agrees with this machine's.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Check, Facts, Name, When, every_runtime};
use crate::health::{
    Expected,
    facts::{Fact, Probe, require},
    outcome::Outcome,
};

pub(super) const CHECK: Check = Check {
    name: Name::Clock,
    when: When::RuntimeRuns,
    applies: every_runtime,
    judge,
};

/// Seconds of skew above which certificates and leases made on one side fail on the other.
const SKEW_CEILING: f64 = 5.0;

/// The node's clock against this machine's, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::health) struct Clock {
    /// Positive when the node is ahead.
    skew: f64,
    /// The largest error of the reading.
    error: f64,
}

/// Computes the skew. The probe read the node's clock at some moment between its start and its end.
pub(in crate::health) fn read(probe: &Probe) -> Fact<Clock> {
    let text = probe.part("clock")?.trim();
    let there: f64 = text.parse().map_err(|_| format!("clock: {text:?}"))?;
    let (before, after) = (seconds(probe.ran.0), seconds(probe.ran.1));
    Ok(Clock {
        skew: there - f64::midpoint(before, after),
        error: (after - before) / 2.0,
    })
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    let clock = require(&facts.clock)?;
    let observed = format!("off by {:.1}s ± {:.1}s", clock.skew.abs(), clock.error);
    let ok = clock.skew.abs() - clock.error <= SKEW_CEILING;
    Ok(Outcome::when(
        ok,
        observed,
        "synchronize the clocks of this machine and the engine's",
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::{
        checks::tests::{fires, good as good_node, report, silent},
        facts::tests::printed,
        report::Verdict,
    };

    pub(in super::super) fn good() -> Clock {
        Clock {
            skew: 0.1,
            error: 0.2,
        }
    }

    #[test]
    fn the_skew_is_against_the_middle_of_the_probe() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let text = Ok("@@clock\n107.5\n".to_owned());
        let clock = read(&Probe::read(text, (at(100), at(104))));
        let expected = Clock {
            skew: 5.5,
            error: 2.0,
        };
        assert_eq!(clock, Ok(expected));
        let error = read(&printed("@@clock\n")).unwrap_err();
        insta::assert_snapshot!(error, @r#"clock: """#);
    }

    #[test]
    fn clock_is_this_machines_within_the_reading() {
        fires("clock", |facts| {
            facts.clock = Ok(Clock {
                skew: -6.0,
                error: 0.1,
            })
        });
        silent(|facts| {
            facts.clock = Ok(Clock {
                skew: 6.0,
                error: 1.5,
            })
        });
    }

    #[test]
    fn what_was_not_observed_is_unknown_and_refuses() {
        let mut facts = good_node();
        facts.clock = Err("the probe gave no 'clock'".to_owned());
        let report = report(&facts);
        assert_eq!(report.findings.last().unwrap().verdict, Verdict::Unknown);
        insta::assert_snapshot!(report.require(&[]).unwrap_err().report(), @r"
        health check 'clock' unknown on cp-1: the probe gave no 'clock'
        cure: docker exec cp-1 journalctl --no-pager --lines 50
        ");
    }
}
