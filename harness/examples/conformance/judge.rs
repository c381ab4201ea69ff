//! The judgement of a run of critest: its failures beside those that are known.

use std::fmt;

use crate::{
    known::Known,
    results::{Outcome, Spec},
};

/// What came of the specs.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Judgement {
    passed: usize,
    /// Failures that were known, with their reasons.
    known: Vec<(String, String)>,
    /// Failures that nobody knew, with critest's messages.
    new: Vec<(String, String)>,
    /// Specs that passed although they are known to fail.
    mended: Vec<String>,
    /// Names of known failures that no spec has.
    missing: Vec<String>,
    /// Specs that skipped themselves, with critest's reasons.
    skipped: Vec<(String, String)>,
    left_out: usize,
}

/// Judges what came of the specs by the failures that are known.
pub(crate) fn judge(specs: &[Spec], known: &[Known]) -> Judgement {
    let mut judgement = Judgement::default();
    let reason = |spec: &Spec| {
        let mut here = known.iter().filter(|known| known.here);
        here.find(|known| known.spec == spec.name)
    };
    for spec in specs {
        let name = spec.name.clone();
        match (&spec.outcome, reason(spec)) {
            (Outcome::Passed, None) => judgement.passed += 1,
            (Outcome::Passed, Some(_)) => {
                judgement.passed += 1;
                judgement.mended.push(name);
            }
            (Outcome::Failed(_), Some(known)) => {
                judgement.known.push((name, known.reason.clone()));
            }
            (Outcome::Failed(message), None) => judgement.new.push((name, message.clone())),
            (Outcome::Skipped(why), _) => judgement.skipped.push((name, why.clone())),
            (Outcome::LeftOut, _) => judgement.left_out += 1,
        }
    }
    let is_missing = |known: &&Known| specs.iter().all(|spec| spec.name != known.spec);
    let missing = known.iter().filter(is_missing);
    judgement.missing = missing.map(|known| known.spec.clone()).collect();
    judgement
}

impl Judgement {
    /// How many specs ran to an end.
    pub(crate) fn executed(&self) -> usize {
        self.passed + self.known.len() + self.new.len()
    }

    /// Whether it is all as it is known to be. A run of no spec proves nothing.
    pub(crate) fn is_good(&self) -> bool {
        let odd = self.new.len() + self.mended.len() + self.missing.len();
        self.executed() > 0 && odd == 0
    }

    /// One line with all counts.
    pub(crate) fn counts(&self) -> String {
        format!(
            "{} executed: {} passed, {} known failures, {} other failures; {} skipped, {} left out",
            self.executed(),
            self.passed,
            self.known.len(),
            self.new.len(),
            self.skipped.len(),
            self.left_out
        )
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, why) in &self.skipped {
            writeln!(f, "skipped: {name}: {why}")?;
        }
        for (name, reason) in &self.known {
            writeln!(f, "known failure: {name}: {reason}")?;
        }
        for (name, message) in &self.new {
            let message = message.lines().next().unwrap_or_default();
            writeln!(f, "FAILED: {name}: {message}")?;
        }
        for name in &self.mended {
            writeln!(
                f,
                "PASSED, but is known to fail: {name}: take it out of known-failures.yaml"
            )?;
        }
        for name in &self.missing {
            writeln!(
                f,
                "NO SUCH SPEC: {name}: correct its name in known-failures.yaml, or take it out"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, outcome: Outcome) -> Spec {
        Spec {
            name: name.to_owned(),
            outcome,
        }
    }

    fn failed(name: &str) -> Spec {
        spec(
            name,
            Outcome::Failed(format!("{name} went wrong\nin detail")),
        )
    }

    fn known(names: &[&str]) -> Vec<Known> {
        let known = names.iter().map(|&name| Known {
            spec: name.to_owned(),
            reason: "no such thing here".to_owned(),
            here: true,
        });
        known.collect()
    }

    #[test]
    fn passed_and_known_specs_are_good() {
        let specs = [
            spec("a", Outcome::Passed),
            failed("b"),
            spec("c", Outcome::Skipped("no AppArmor".to_owned())),
            spec("d", Outcome::LeftOut),
        ];
        let judged = judge(&specs, &known(&["b"]));
        assert!(judged.is_good());
        insta::assert_snapshot!(judged.counts(), @"2 executed: 1 passed, 1 known failures, 0 other failures; 1 skipped, 1 left out");
        insta::assert_snapshot!(judged, @r"
        skipped: c: no AppArmor
        known failure: b: no such thing here
        ");
    }

    #[test]
    fn a_failure_that_nobody_knew_is_bad() {
        let judged = judge(&[spec("a", Outcome::Passed), failed("b")], &known(&[]));
        assert!(!judged.is_good());
        insta::assert_snapshot!(judged, @"FAILED: b: b went wrong");
    }

    #[test]
    fn a_known_failure_that_passes_is_bad() {
        let judged = judge(&[spec("a", Outcome::Passed)], &known(&["a"]));
        assert!(!judged.is_good());
        insta::assert_snapshot!(judged, @"PASSED, but is known to fail: a: take it out of known-failures.yaml");
    }

    #[test]
    fn a_failure_that_is_known_elsewhere_is_not_known_here() {
        let mut elsewhere = known(&["a"]);
        elsewhere[0].here = false;
        assert!(judge(&[spec("a", Outcome::Passed)], &elsewhere).is_good());
        assert!(!judge(&[failed("a")], &elsewhere).is_good());
        assert!(!judge(&[spec("b", Outcome::Passed)], &elsewhere).is_good());
    }

    #[test]
    fn a_known_failure_that_did_not_run_says_nothing_but_must_exist() {
        let specs = [spec("a", Outcome::Passed), spec("b", Outcome::LeftOut)];
        assert!(judge(&specs, &known(&["b"])).is_good());
        let judged = judge(&specs, &known(&["c"]));
        assert!(!judged.is_good());
        insta::assert_snapshot!(judged, @"NO SUCH SPEC: c: correct its name in known-failures.yaml, or take it out");
    }

    #[test]
    fn no_spec_at_all_is_bad() {
        assert!(!judge(&[spec("a", Outcome::LeftOut)], &known(&[])).is_good());
    }
}
