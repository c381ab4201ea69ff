//! `report.html`: the whole run on one page that opens offline and explains a red one.
//!
//! It has no script. Every text goes through [`text`], so that what a test or a log said
//! cannot become part of the page.

use std::fmt::Write;
use std::path::{Component, Path};

use kubenest_protocol::{Phase, Verdict, exit};

use crate::failure::{self, below_side};
use crate::log::tail;
use crate::report::{Report, TestReport, printable};
use crate::run_dir::RunDir;

/// The look of the bundles' pages; a file, since the runner does not link the crate that writes those.
const LOOK: &str = include_str!("../../evidence/src/page/web/look.css");
const STYLE: &str = include_str!("html.css");
/// How much of a log's end is shown.
const LOG: (u64, usize) = (16 * 1024, 60);
/// The phases that have a colour, in the order they happen.
const PHASES: [Phase; 5] = [
    Phase::Image,
    Phase::Boot,
    Phase::Gate,
    Phase::Body,
    Phase::Cleanup,
];

/// The page of a run. Links are seen from the run's folder.
pub(crate) fn page(report: &Report, dir: &RunDir) -> String {
    let red: Vec<_> = report
        .tests
        .iter()
        .filter(|test| test.verdict.is_red())
        .collect();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}: run {}</title>\n<style>{LOOK}{STYLE}</style>\n</head>\n\
         <body class=\"report\">\n<main>\n",
        text(outcome(report)),
        text(&report.run)
    );
    page.push_str(&header(report));
    for asked in &report.nothing_ran {
        let asked = text(asked);
        let _ = writeln!(
            page,
            "<p class=\"message\">Nothing ran: no test of {asked}.</p>"
        );
    }
    if !red.is_empty() {
        page.push_str("<section>\n<h2>What did not pass</h2>\n");
        red.iter()
            .for_each(|test| page.push_str(&failure(test, dir)));
        page.push_str("</section>\n");
    }
    page.push_str(&all_tests(&report.tests));
    page.push_str(&saved(report));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn outcome(report: &Report) -> &'static str {
    match report.exit_code {
        exit::OK => "passed",
        exit::TEST_FAILED => "a test failed",
        exit::SETUP_FAILED => "a set-up failed",
        exit::NOTHING_RAN => "nothing ran",
        _ => "interrupted",
    }
}

fn header(report: &Report) -> String {
    let totals = &report.totals;
    let counts = [
        ("passed", totals.passed),
        ("failed", totals.failed),
        ("set-up failed", totals.setup),
        ("interrupted", totals.interrupted),
        ("skipped", totals.skipped + totals.ignored),
        ("left out", totals.filtered_out),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let class = if report.exit_code == exit::OK {
        "good"
    } else {
        "bad"
    };
    format!(
        "<header>\n<p><span class=\"badge {class}\">{}</span> \
         <time datetime=\"{}\">{} UTC</time></p>\n<h1>Run {}</h1>\n\
         <p class=\"quiet\">{} in {} · exit {} · \
         <a href=\"report.json\">report.json</a> · <a href=\"junit.xml\">junit.xml</a></p>\n\
         </header>\n",
        outcome(report),
        report.started.to_rfc3339(),
        report.started.format("%Y-%m-%d %H:%M:%S"),
        text(&report.run),
        counts.join(", "),
        duration(report.seconds),
        report.exit_code,
    )
}

/// All that is known of one test that did not pass.
fn failure(test: &TestReport, dir: &RunDir) -> String {
    let mut page = format!(
        "<article id=\"{}\">\n<h3><span class=\"badge bad\">{}</span> {}</h3>\n\
         <p class=\"quiet\">{}</p>\n",
        text(&test.id()),
        failure::word(test.verdict),
        text(&test.id()),
        text(
            &[
                test.version_list(),
                test.phase_list(),
                duration(test.seconds)
            ]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" · ")
        ),
    );
    for cause in test.causes() {
        let (title, why, cure) = (text(&cause.title), text(&cause.cause), text(&cause.cure));
        let _ = writeln!(
            page,
            "<p><b class=\"cause\">{title}.</b> {why}</p>\n<p class=\"cure\"><b>Cure:</b> {cure}</p>"
        );
    }
    if let Some(message) = &test.message {
        let _ = writeln!(page, "<pre class=\"message\">{}</pre>", text(message));
    }
    let told = [("expected", &test.expected), ("observed", &test.observed)];
    page.push_str("<dl class=\"comparison\">\n");
    for (key, value) in told {
        if let Some(value) = value {
            let _ = writeln!(page, "<dt>{key}</dt><dd>{}</dd>", text(value));
        }
    }
    for bundle in &test.evidence {
        let link = link(&bundle.page(), &bundle.path.display().to_string());
        let _ = writeln!(
            page,
            "<dt>evidence</dt><dd>{link}{}</dd>",
            text(&bundle.extent())
        );
    }
    if let Some(place) = &test.place {
        let _ = writeln!(page, "<dt>place</dt><dd>{}</dd>", text(&place.to_string()));
    }
    let _ = writeln!(
        page,
        "<dt>log</dt><dd>{}</dd>",
        link(Path::new(&test.log), &test.log)
    );
    let _ = writeln!(
        page,
        "<dt>keep it</dt><dd>{}</dd>\n</dl>",
        text(&test.again)
    );
    page.push_str(&log_end(&dir.path.join(&test.log)));
    page + "</article>\n"
}

fn log_end(path: &Path) -> String {
    let end = tail(path, LOG.0);
    let end = console::strip_ansi_codes(&end).into_owned();
    let lines: Vec<_> = end.trim_end().lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let last = lines[lines.len().saturating_sub(LOG.1)..].join("\n");
    format!(
        "<details><summary>The end of its log</summary>\n<pre>{}</pre></details>\n",
        text(&printable(last))
    )
}

/// Every test, by suite.
fn all_tests(all: &[TestReport]) -> String {
    let slowest = all.iter().map(|test| test.seconds).fold(1.0, f64::max);
    let mut page = String::from("<section>\n<h2>All tests</h2>\n<table class=\"tests\">\n");
    page.push_str(
        "<thead><tr><th scope=\"col\"></th><th scope=\"col\">Test</th><th scope=\"col\">Side</th>\
         <th scope=\"col\">Versions</th><th scope=\"col\">Expected and observed</th>\
         <th scope=\"col\">Seconds</th><th scope=\"col\">Files</th></tr></thead>\n",
    );
    for suite in all.chunk_by(|a, b| a.suite == b.suite) {
        let name = text(&suite[0].suite);
        let _ = writeln!(
            page,
            "<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"7\" class=\"suite\">{name}</th></tr>"
        );
        suite
            .iter()
            .for_each(|test| page.push_str(&row(test, slowest)));
        page.push_str("</tbody>\n");
    }
    page + "</table>\n<p class=\"legend\">" + &legend() + "</p>\n</section>\n"
}

fn row(test: &TestReport, slowest: f64) -> String {
    let class = match test.verdict {
        Verdict::Passed => "good",
        Verdict::Ignored | Verdict::Skipped => "quiet",
        _ => "bad",
    };
    // Long names break between their words.
    let name = text(below_side(&test.test, &test.side)).replace('_', "_<wbr>");
    let name = match test.verdict.is_red() {
        true => format!("<a href=\"#{}\">{name}</a>", text(&test.id())),
        false => name,
    };
    let mut told = Vec::new();
    for (key, value) in [("expected", &test.expected), ("observed", &test.observed)] {
        let first = value.as_deref().and_then(|value| value.lines().next());
        told.extend(first.map(|line| format!("<span>{key}</span> {}", text(line))));
    }
    if test.verdict == Verdict::Skipped {
        told.extend(test.message.as_deref().map(text));
    }
    let pages = test
        .evidence
        .iter()
        .map(|bundle| link(&bundle.page(), "evidence"));
    let files: Vec<_> = pages.chain([link(Path::new(&test.log), "log")]).collect();
    format!(
        "<tr><td class=\"verdict {class}\">{}</td><td>{name}</td><td>{}</td><td>{}</td>\
         <td class=\"told\">{}</td><td class=\"seconds\">{:.1}{}</td><td>{}</td></tr>\n",
        failure::word(test.verdict),
        text(&test.side),
        text(&test.version_list()),
        told.join("<br>"),
        test.seconds,
        bar(test, slowest),
        files.join(" "),
    )
}

/// Where a test's seconds went, as a bar beside those of the slowest test.
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

fn legend() -> String {
    let one = |phase: Phase| format!("<span class=\"key {phase}\"></span>{phase}");
    PHASES.map(one).join(" ")
}

/// How soon the gate refuses what a test would have met late.
fn saved(report: &Report) -> String {
    if report.failures.is_empty() {
        return String::new();
    }
    let seconds = |value: Option<f64>| value.map(|s| format!("{s:.1}")).unwrap_or_default();
    let row = |one: &crate::saved::Saved| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            text(&one.suite),
            seconds(one.refused),
            seconds(one.shown)
        )
    };
    let rows: String = report.failures.iter().map(row).collect();
    format!(
        "<section>\n<h2>Seconds from the start of the boot</h2>\n<table>\n<thead><tr>\
         <th scope=\"col\">Failure</th><th scope=\"col\">refused by the gate</th>\
         <th scope=\"col\">shows without it</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table>\n</section>\n"
    )
}

fn duration(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{seconds:.1} s"),
        _ => format!("{} min {:02.0} s", (seconds / 60.0).floor(), seconds % 60.0),
    }
}

/// A link to a file; each part of its path is quoted, so that it is never another address.
fn link(path: &Path, shown: &str) -> String {
    let mut target = String::from(if path.is_absolute() { "file://" } else { "." });
    for part in path.components() {
        let part = match part {
            Component::Normal(part) => part.to_string_lossy(),
            Component::ParentDir => "..".into(),
            _ => continue,
        };
        target.push('/');
        for byte in part.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    target.push(char::from(byte));
                }
                _ => target.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    format!("<a href=\"{target}\">{}</a>", text(shown))
}

/// A text as HTML, in elements and in quoted attributes.
fn text(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(letter),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    fn shown(report: &Report) -> String {
        let dir = RunDir {
            run: report.run.clone(),
            path: "/nonexistent".into(),
        };
        let page = page(report, &dir);
        let (_, body) = page.split_once("</head>").unwrap();
        body.to_owned()
    }

    #[test]
    fn the_page_explains_a_red_run() {
        insta::assert_snapshot!(shown(&report()));
    }

    #[test]
    fn what_tests_say_is_never_markup() {
        let mut report = report();
        let hostile = "</pre><script>x()</script>\" onload='x()'&";
        let test = &mut report.tests[1];
        for text in [
            &mut test.test,
            &mut test.suite,
            &mut test.side,
            &mut test.log,
        ] {
            *text = hostile.to_owned();
        }
        for text in [&mut test.message, &mut test.expected, &mut test.observed] {
            *text = Some(hostile.to_owned());
        }
        test.versions = [(hostile.to_owned(), hostile.to_owned())].into();
        test.evidence[0].path = format!("javascript:x()/{hostile}").into();
        let page = shown(&report);
        for markup in ["<script", "onload='", "\" onload", "href=\"javascript:"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
    }

    #[test]
    fn links_are_paths_and_nothing_else() {
        assert_eq!(
            link(Path::new("logs/a b/x::y.log"), "log"),
            "<a href=\"./logs/a%20b/x%3A%3Ay.log\">log</a>"
        );
        assert_eq!(
            link(Path::new("/t/a"), "a"),
            "<a href=\"file:///t/a\">a</a>"
        );
    }
}
