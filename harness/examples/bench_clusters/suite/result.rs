//! The measurements of suites.

use std::fmt::Write;

use serde::Serialize;

use crate::bench::median;

/// One test: the seconds of all of it, and of its body.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TestRun {
    pub(super) seconds: f64,
    pub(super) body: f64,
}

/// A suite, from before its first test until after its last.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SuiteRun {
    pub(super) at_once: u8,
    /// The cluster was up before.
    pub(super) is_warm: bool,
    pub(super) seconds: f64,
    pub(super) tests: Vec<TestRun>,
}

impl SuiteRun {
    /// Seconds outside the bodies, as far as somebody waits for them: of tests side by side a share.
    fn outside(&self) -> f64 {
        let bodies: f64 = self.tests.iter().map(|test| test.body).sum();
        self.seconds - bodies / f64::from(self.at_once)
    }

    /// The median of what a test costs beside its body, in seconds.
    fn per_test(&self) -> f64 {
        median(self.tests.iter().map(|test| test.seconds - test.body))
    }
}

type Field = (&'static str, fn(&SuiteRun) -> f64);

const FIELDS: [Field; 3] = [
    ("total, s", |run| run.seconds),
    ("outside the bodies, s", SuiteRun::outside),
    ("outside the body of a test, median, s", SuiteRun::per_test),
];

/// All suites of all sides.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measurement {
    kind_version: String,
    tests: usize,
    kubenest: Vec<SuiteRun>,
    kind: Vec<SuiteRun>,
    /// The first tests with a cluster of kubenest's for each.
    pub(super) own: Option<SuiteRun>,
}

impl Measurement {
    pub(super) fn new(kind_version: &str, tests: usize) -> Self {
        Self {
            kind_version: kind_version.to_owned(),
            tests,
            kubenest: Vec::new(),
            kind: Vec::new(),
            own: None,
        }
    }

    pub(super) fn add(&mut self, side: &str, runs: &[SuiteRun]) {
        match side {
            "kubenest" => self.kubenest.extend_from_slice(runs),
            _ => self.kind.extend_from_slice(runs),
        }
    }

    /// Medians over the rounds, and their ratio.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "| {} tests | kubenest's lease | kind v{} | ratio |\n| --- | --- | --- | --- |",
            self.tests, self.kind_version
        );
        let mut kinds: Vec<_> = self
            .kubenest
            .iter()
            .map(|run| (run.is_warm, run.at_once))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        for (is_warm, at_once) in kinds {
            for (name, field) in FIELDS {
                let of = |runs: &[SuiteRun]| {
                    let runs = runs.iter();
                    let alike = runs.filter(|run| run.is_warm == is_warm && run.at_once == at_once);
                    median(alike.map(field))
                };
                let (ours, theirs) = (of(&self.kubenest), of(&self.kind));
                let state = if is_warm { "warm" } else { "cold" };
                let ratio = ours / theirs;
                let _ = writeln!(
                    text,
                    "| {state}, {at_once} at a time: {name} | {ours:.2} | {theirs:.2} | {ratio:.2} |"
                );
            }
        }
        if let Some(own) = &self.own {
            let (tests, seconds) = (own.tests.len(), own.seconds);
            let _ = writeln!(
                text,
                "\n{tests} of them, a cluster for each: {seconds:.1} s"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_the_bodies_is_shared_by_those_who_run_at_a_time() {
        let test = TestRun {
            seconds: 3.0,
            body: 2.0,
        };
        let run = SuiteRun {
            at_once: 2,
            is_warm: true,
            seconds: 10.0,
            tests: vec![test; 6],
        };
        assert_eq!((run.outside(), run.per_test()), (4.0, 1.0));
        let mut measured = Measurement::new("0.33.0", 6);
        measured.add("kubenest", &[run.clone()]);
        measured.add(
            "kind",
            &[SuiteRun {
                seconds: 14.0,
                ..run
            }],
        );
        insta::assert_snapshot!(measured.table(), @r"
        | 6 tests | kubenest's lease | kind v0.33.0 | ratio |
        | --- | --- | --- | --- |
        | warm, 2 at a time: total, s | 10.00 | 14.00 | 0.71 |
        | warm, 2 at a time: outside the bodies, s | 4.00 | 8.00 | 0.50 |
        | warm, 2 at a time: outside the body of a test, median, s | 1.00 | 1.00 | 1.00 |
        ");
    }
}
