//! The table of all tests, by suite.

use std::fmt::Write;
use std::path::Path;

use kubenest_protocol::Verdict;

use super::{PHASES, legend, link, name, row_id, text};
use crate::failure::{below_side, word};
use crate::test_report::TestReport;

/// The row of every test. What a test expected and observed stands below its name, which leaves the
/// width of the table to the names.
pub(super) fn section(all: &[TestReport]) -> String {
    let slowest = all.iter().map(|test| test.seconds).fold(1.0, f64::max);
    let mut page = String::from("<section>\n<h2>All tests</h2>\n<table class=\"tests\">\n");
    page.push_str(
        "<thead><tr><th scope=\"col\">Ended</th>\
         <th scope=\"col\">Test, what it expected and observed</th><th scope=\"col\">Side</th>\
         <th scope=\"col\">Versions</th><th scope=\"col\">Seconds</th>\
         <th scope=\"col\">Files</th></tr></thead>\n",
    );
    let mut at = 0;
    for suite in all.chunk_by(|a, b| a.suite == b.suite) {
        let name = text(&suite[0].suite);
        let _ = writeln!(
            page,
            "<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"6\" class=\"suite\">{name}</th></tr>"
        );
        for test in suite {
            page.push_str(&row(test, at, slowest));
            at += 1;
        }
        page.push_str("</tbody>\n");
    }
    page + "</table>\n<p class=\"legend\">" + &legend() + "</p>\n</section>\n"
}

fn row(test: &TestReport, at: usize, slowest: f64) -> String {
    let class = match test.verdict {
        Verdict::Passed => "good",
        Verdict::Ignored | Verdict::Skipped => "quiet",
        _ => "bad",
    };
    let name = name(below_side(&test.test, &test.side));
    let name = match test.verdict.is_red() {
        true => format!("<a href=\"#{}\">{name}</a>", text(&test.title())),
        false => name,
    };
    let pages = test
        .evidence
        .iter()
        .map(|bundle| link(&bundle.page(), "evidence"));
    let files: Vec<_> = pages.chain([link(Path::new(&test.log), "log")]).collect();
    let node = test
        .node
        .iter()
        .map(|node| format!("<b>{}</b>", text(node)));
    let versions = test.versions.iter();
    let versions = versions.map(|(part, version)| text(&format!("{part} {version}")));
    format!(
        "<tr id=\"{}\"><td class=\"verdict {class}\">{}</td><td class=\"name\">{name}{}</td>\
         <td>{}</td><td class=\"versions\">{}</td><td class=\"seconds\">{:.1}{}</td>\
         <td class=\"files\">{}</td></tr>\n",
        row_id(at),
        word(test.verdict),
        notes(test),
        text(&test.side),
        node.chain(versions).collect::<Vec<_>>().join("<br>"),
        test.seconds,
        bar(test, slowest),
        files.join("<br>"),
    )
}

/// What a test expected and observed, or why it was skipped; one line each.
fn notes(test: &TestReport) -> String {
    let mut told = String::new();
    for (key, value) in [("expected", &test.expected), ("observed", &test.observed)] {
        if let Some(line) = value.as_deref().and_then(|value| value.lines().next()) {
            let _ = write!(
                told,
                "<p class=\"told\"><span>{key}</span> {}</p>",
                text(line)
            );
        }
    }
    if let (Verdict::Skipped, Some(reason)) = (test.verdict, &test.message) {
        let _ = write!(told, "<p class=\"told\">{}</p>", text(reason));
    }
    told
}

/// A test's seconds by phase as a bar, on the scale of the slowest test.
fn bar(test: &TestReport, slowest: f64) -> String {
    let share = |seconds: f64| seconds.max(0.0) / slowest * 100.0;
    let phases = test.phase_list();
    let parts = if phases.is_empty() {
        "of unknown parts"
    } else {
        &phases
    };
    let mut bar = format!(
        "<svg viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{0}\">\
         <title>{0}</title><rect class=\"whole\" width=\"{1:.1}\" height=\"4\"/>",
        text(parts),
        share(test.seconds)
    );
    let mut left = 0.0;
    for phase in PHASES {
        let width = share(test.phases.get(&phase).copied().unwrap_or_default());
        if width > 0.0 {
            let _ = write!(
                bar,
                "<rect class=\"{phase}\" x=\"{left:.1}\" width=\"{width:.1}\" height=\"4\"/>"
            );
        }
        left += width;
    }
    bar + "</svg>"
}
