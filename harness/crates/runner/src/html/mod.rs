//! `report.html`: the whole run on one page that opens offline and explains its failures.
//!
//! The page has no script. Every text goes through [`text`], so that the words of a test or a log
//! cannot become markup.

mod by_node;
mod matrix;
mod preparing;
mod span;
mod table;
mod timeline;

use std::fmt::Write;
use std::path::{Component, Path};

use kubenest_protocol::{Phase, exit};

use crate::failure;
use crate::log::tail;
use crate::report::Report;
use crate::run_dir::RunDir;
use crate::test_report::{TestReport, printable};

/// The style sheet of the bundles' pages. It is included as a file, because the runner does not
/// link the crate that writes those pages.
const LOOK: &str = include_str!("../../../evidence/src/page/web/look.css");
const STYLE: &str = include_str!("html.css");
/// How much of the end of a log is shown, in bytes and in lines.
const LOG: (u64, usize) = (16 * 1024, 60);
/// For how many tests that did not pass the page shows the end of the log.
const LOGS: usize = 50;
/// The phases that have a colour, in the order in which they happen.
const PHASES: [Phase; 5] = [
    Phase::Image,
    Phase::Boot,
    Phase::Gate,
    Phase::Body,
    Phase::Cleanup,
];

/// The page of a run. Its links are relative to the run's folder.
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
    for test in &report.tests {
        if let Some(told) = crate::unprepared::sentence(test) {
            let _ = writeln!(page, "<p class=\"quiet\">{}.</p>", text(&told));
        }
    }
    page.push_str(&by_node::section(report));
    page.push_str(&matrix::section(&report.tests));
    page.push_str(&timeline::section(report));
    if !red.is_empty() {
        page.push_str("<section>\n<h2 id=\"red\">What did not pass</h2>\n");
        for (at, test) in red.iter().enumerate() {
            page.push_str(&failure(test));
            if at < LOGS {
                page.push_str(&log_end(&dir.path.join(&test.log)));
            }
            page.push_str("</article>\n");
        }
        page.push_str("</section>\n");
    }
    page.push_str(&table::section(&report.tests));
    page.push_str(&savings(report));
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
    let prepared: f64 = report.preparing.iter().map(|one| one.seconds).sum();
    let prepared = match prepared > 0.0 {
        true => format!(", prepared in {}", duration(prepared)),
        false => String::new(),
    };
    let class = if report.exit_code == exit::OK {
        "good"
    } else {
        "bad"
    };
    let red = match report.tests.iter().any(|test| test.verdict.is_red()) {
        true => "<a href=\"#red\">what did not pass</a> · ",
        false => "",
    };
    format!(
        "<header>\n<p><span class=\"badge {class}\">{}</span> \
         <time datetime=\"{}\">{} UTC</time></p>\n<h1>Run {}</h1>\n\
         <p class=\"quiet\">{} in {}{prepared} · exit {} · \
         {red}<a href=\"report.json\">report.json</a> · \
         <a href=\"junit.xml\">junit.xml</a></p>\n</header>\n",
        outcome(report),
        report.started.to_rfc3339(),
        report.started.format("%Y-%m-%d %H:%M:%S"),
        text(&report.run),
        counts.join(", "),
        duration(report.seconds),
        report.exit_code,
    )
}

/// All that is known about one test that did not pass, except the end of its log.
fn failure(test: &TestReport) -> String {
    let mut page = format!(
        "<article id=\"{}\">\n<h3><span class=\"badge bad\">{}</span> {}</h3>\n\
         <p class=\"quiet\">{}</p>\n",
        text(&test.title()),
        failure::word(test.verdict),
        text(&test.title()),
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
    page
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

/// How much sooner the gate refuses a failure than a test would meet it.
fn savings(report: &Report) -> String {
    if report.failures.is_empty() {
        return String::new();
    }
    let seconds = |value: Option<f64>| value.map(|s| format!("{s:.1}")).unwrap_or_default();
    let row = |one: &crate::saved::GateSaving| {
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

/// A link to a file. Each part of the path is percent-encoded, so that the link never leads to
/// another address.
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

/// The id of a test's row, by the test's place in the report. The matrix and the time line link to
/// it.
fn row_id(at: usize) -> String {
    format!("row-{at}")
}

/// A test's name, in which a line may break between words and nowhere else.
fn name(name: &str) -> String {
    text(name).replace("::", "::<wbr>").replace('_', "_<wbr>")
}

/// The legend: which colour stands for which part of a test.
fn legend() -> String {
    let one = |phase: Phase| {
        let name = match phase {
            Phase::Image => "having the image",
            phase => phase.name(),
        };
        format!("<span class=\"key {phase}\"></span>{name}")
    };
    PHASES.map(one).join(" ")
}

/// Escapes a text for HTML elements and for quoted attributes.
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

    fn page_of(report: &Report) -> String {
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
        insta::assert_snapshot!(page_of(&report()));
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
        let page = page_of(&report);
        for markup in ["<script", "onload='", "\" onload", "href=\"javascript:"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
    }

    #[test]
    fn whatever_the_page_leads_to_is_on_it() {
        let page = page_of(&report());
        let targets = page.split("href=\"#").skip(1);
        let targets: Vec<_> = targets.filter_map(|rest| rest.split('"').next()).collect();
        for of in ["row-0", "row-2", "red", "image-gc::fixed::boots"] {
            assert!(targets.contains(&of), "{of} in {targets:?}");
        }
        for target in targets {
            let id = format!("id=\"{target}\"");
            assert_eq!(page.matches(&id).count(), 1, "{target} in {page}");
        }
    }

    #[test]
    fn logs_are_shown_of_the_first_tests_that_did_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("log"), "kubelet exited\n").unwrap();
        let mut report = report();
        report.tests[1].log = "log".to_owned();
        report.tests = vec![report.tests[1].clone(); LOGS + 10];
        let dir = RunDir {
            run: report.run.clone(),
            path: folder.path().to_owned(),
        };
        let page = page(&report, &dir);
        assert_eq!(page.matches("<article").count(), LOGS + 10);
        assert_eq!(page.matches("kubelet exited").count(), LOGS);
    }

    #[test]
    fn a_name_is_broken_between_its_words_only() {
        assert_eq!(name("fixed::a_b<wbr>"), "fixed::<wbr>a_<wbr>b&lt;wbr&gt;");
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
