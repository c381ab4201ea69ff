//! The results as JUnit XML: a failed assertion is a failure, a broken set-up is an error.

use std::time::Duration;

use kubenest_protocol::Verdict;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::bundle::Bundle;
use crate::package::{Side, side_name};
use crate::plan::with_node;
use crate::report::Report;
use crate::test_report::TestReport;

/// One `testsuite` for each suite, side and node, in the order of the report.
pub(crate) fn xml(report: &Report) -> anyhow::Result<String> {
    let mut junit = quick_junit::Report::new("kubenest");
    junit.set_timestamp(report.started);
    junit.set_time(seconds(report.seconds));
    let mut tests: Vec<_> = report.tests.iter().collect();
    tests.sort_by_key(|test| {
        (
            &test.suite,
            test.side == side_name(None),
            &test.side,
            &test.node,
        )
    });
    let of = |test: &TestReport| (test.suite.clone(), test.side.clone(), test.node.clone());
    for group in tests.chunk_by(|a, b| of(a) == of(b)) {
        let mut suite = TestSuite::new(suite_name(group[0]));
        if let Some(node) = &group[0].node {
            suite.add_property(("kubenest.node", node.as_str()));
        }
        suite.set_time(seconds(group.iter().map(|test| test.seconds).sum()));
        // Preparing belongs to no test's time, and the report as a whole cannot have properties.
        if !report.preparing.is_empty() {
            let all = report.preparing.iter().map(|one| one.seconds);
            let all = format!("{:.3}", all.sum::<f64>());
            suite.add_property(("kubenest.preparing.seconds", all.as_str()));
        }
        suite.add_test_cases(group.iter().map(|test| case(test)));
        junit.add_test_suite(suite);
    }
    Ok(junit.to_string()?)
}

fn suite_name(test: &TestReport) -> String {
    let has_side = [Side::Affected, Side::Fixed]
        .iter()
        .any(|s| test.side == s.to_string());
    let name = match has_side {
        true => format!("{}.{}", test.suite, test.side),
        false => test.suite.clone(),
    };
    with_node(&name, test.node.as_deref())
}

fn case(test: &TestReport) -> TestCase {
    let mut case = TestCase::new(test.test.as_str(), status(test));
    case.set_classname(test.suite.as_str());
    case.set_time(seconds(test.seconds));
    for (component, version) in &test.versions {
        case.add_property((component.as_str(), version.as_str()));
    }
    for making in &test.unprepared {
        let told = format!("{} {:.3}", making.name, making.seconds);
        case.add_property(("unprepared", told.as_str()));
    }
    for bundle in &test.evidence {
        let folder = bundle.path.display().to_string();
        case.add_property(("evidence", folder.as_str()));
    }
    case
}

fn status(test: &TestReport) -> TestCaseStatus {
    let (kind, word) = match test.verdict {
        Verdict::Passed => return TestCaseStatus::success(),
        Verdict::Ignored => return TestCaseStatus::skipped(),
        Verdict::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(test.message.as_deref().unwrap_or("skipped"));
            return status;
        }
        Verdict::Failed => (NonSuccessKind::Failure, "assertion"),
        Verdict::Setup => (NonSuccessKind::Error, "setup"),
        Verdict::Interrupted => (NonSuccessKind::Error, "interrupted"),
    };
    let mut status = TestCaseStatus::non_success(kind);
    let message = test.message.as_deref().unwrap_or(word);
    status
        .set_type(word)
        .set_message(message.lines().next().unwrap_or(word));
    let told = [
        ("expected", test.expected.as_deref()),
        ("observed", test.observed.as_deref()),
        ("message", Some(message)),
        ("log", Some(test.log.as_str())),
    ];
    let lines = told
        .iter()
        .filter_map(|(key, value)| value.map(|value| format!("{key}  {value}")));
    let causes = test.causes().into_iter();
    let causes = causes.map(|cause| format!("cause  {}: {}", cause.title, cause.cause));
    let pages = test.evidence.iter().map(Bundle::page);
    let pages = pages.map(|page| format!("evidence  {}", page.display()));
    let lines = lines.chain(causes).chain(pages);
    status.set_description(lines.collect::<Vec<_>>().join("\n"));
    status
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::making::tests::preparation;
    use crate::report::tests::report;

    #[test]
    fn preparing_is_a_property_and_no_tests_time() {
        let mut report = report();
        report.preparing = vec![preparation()];
        let times = |xml: &str| xml.matches("time=").count();
        let with = xml(&report).unwrap();
        let property = r#"<property name="kubenest.preparing.seconds" value="500.000"/>"#;
        assert_eq!(with.matches(property).count(), 2, "of each suite: {with}");
        report.preparing.clear();
        assert_eq!(times(&with), times(&xml(&report).unwrap()));
    }

    #[test]
    fn each_node_has_suites_of_its_own() {
        let xml = xml(&crate::by_node::tests::matrix()).unwrap();
        let suites = xml
            .lines()
            .filter_map(|line| line.trim().strip_prefix("<testsuite name="));
        let suites: Vec<_> = suites.filter_map(|rest| rest.split('"').nth(1)).collect();
        insta::assert_snapshot!(suites.join("\n"));
        let property = r#"<property name="kubenest.node" value="v1.34.3-cri-o-1.34.0"/>"#;
        assert_eq!(xml.matches(property).count(), 1, "{xml}");
    }

    #[test]
    fn assertions_are_failures_and_broken_set_ups_errors() {
        insta::assert_snapshot!(xml(&report()).unwrap());
    }
}
