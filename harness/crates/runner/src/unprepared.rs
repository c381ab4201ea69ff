//! Warnings about tests that had to make something, and about what their manifests do not declare.

use crate::report::Report;
use crate::test_report::TestReport;

/// The warnings of a run. A need that is asked for but not declared is remembered and costs nothing
/// in the next run, so it is a warning only where manifests have to declare everything.
pub(crate) fn warnings(report: &Report, declares_all: bool) -> Vec<String> {
    let warnings = report.tests.iter().filter_map(|test| {
        let told = sentence(test)?;
        let is_told = declares_all || !test.unprepared.is_empty();
        is_told.then(|| format!("warning: {told}"))
    });
    warnings.collect()
}

/// What a test had to make or asked for without a declaration, and what to do about it.
pub(crate) fn sentence(test: &TestReport) -> Option<String> {
    let made = test.unprepared.iter();
    let made: Vec<_> = made
        .map(|making| format!("{} ({:.1}s)", making.name, making.seconds))
        .collect();
    let undeclared = test.undeclared.join(", ");
    let cure = format!("in [package.metadata.kubenest] of {}", test.suite);
    let id = test.title();
    match (made.is_empty(), undeclared.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("{id} asks for {undeclared}: declare it {cure}")),
        (false, true) => Some(format!(
            "{id} had to make {}, although it is declared",
            made.join(", ")
        )),
        (false, false) => Some(format!(
            "{id} had to make {}, which nobody had prepared: declare {undeclared} {cure}",
            made.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::making::Making;
    use crate::report::tests::report;
    use crate::test_report::tests::at;

    #[test]
    fn whoever_met_what_nobody_prepared_is_named_with_what_to_declare() {
        let mut report = report();
        assert!(warnings(&report, true).is_empty());
        let making = Making {
            name: "kind 0.27.0".to_owned(),
            started: at(1),
            seconds: 31.25,
            failed: None,
        };
        report.tests[0].undeclared = vec!["kind 0.27.0".to_owned()];
        report.tests[1].undeclared = report.tests[0].undeclared.clone();
        report.tests[1].unprepared = vec![making.clone()];
        report.tests[2].unprepared = vec![making];
        insta::assert_snapshot!(warnings(&report, true).join("\n"), @r"
        warning: image-gc::affected::is_lost asks for kind 0.27.0: declare it in [package.metadata.kubenest] of image-gc
        warning: image-gc::fixed::is_kept had to make kind 0.27.0 (31.2s), which nobody had prepared: declare kind 0.27.0 in [package.metadata.kubenest] of image-gc
        warning: image-gc::fixed::boots had to make kind 0.27.0 (31.2s), although it is declared
        ");
        let told = warnings(&report, false);
        assert_eq!(
            told.len(),
            2,
            "one that costs nothing again is not told: {told:?}"
        );
    }
}
