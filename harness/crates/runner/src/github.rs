//! What GitHub Actions shows about a run: an annotation for each failure, and a summary.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::Context;
use kubenest_protocol::Verdict;

use crate::failure::{self, below_side};
use crate::out::say;
use crate::plan::with_node;
use crate::report::Report;
use crate::test_report::TestReport;

/// How many bytes of a message are shown. GitHub takes 1 MiB of summary for each step, and the log
/// has the whole message.
const MESSAGE_LIMIT: usize = 2_000;

/// While this value lives, GitHub's runner obeys no command in what tests print.
pub(crate) struct Quiet(Option<String>);

/// Makes GitHub's runner treat all output as plain text, if this process runs there.
pub(crate) fn quiet() -> Quiet {
    // The token ends that state, so tests must not be able to guess it; hence the random keys of
    // the hasher.
    let token = on_github().then(|| format!("{:016x}", RandomState::new().hash_one(process::id())));
    if let Some(token) = &token {
        say(&format!("::stop-commands::{token}"));
    }
    Quiet(token)
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(token) = &self.0 {
            say(&format!("::{token}::"));
        }
    }
}

/// Prints an annotation for each test that did not pass and writes the summary, if this process
/// runs on GitHub.
pub(crate) fn report_failures(report: &Report, dir: &str) -> anyhow::Result<()> {
    if !on_github() {
        return Ok(());
    }
    for test in report.tests.iter().filter(|test| test.verdict.is_red()) {
        say(&annotation(test, dir));
    }
    let Some(path) = summary_file() else {
        return Ok(());
    };
    let append = || File::options().create(true).append(true).open(&path);
    append()
        .and_then(|mut file| file.write_all(summary(report).as_bytes()))
        .with_context(|| format!("write the step summary {}", path.display()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "GitHub's own variables, read here only"
)]
fn on_github() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|set| set == "true")
}

#[expect(
    clippy::disallowed_methods,
    reason = "GitHub's own variables, read here only"
)]
fn summary_file() -> Option<PathBuf> {
    let path = std::env::var_os("GITHUB_STEP_SUMMARY")?;
    (!path.is_empty()).then(|| path.into())
}

/// The failure as a command of GitHub's runner, which shows it beside the source line.
fn annotation(test: &TestReport, dir: &str) -> String {
    let mut properties = Vec::new();
    if let Some(place) = &test.place {
        properties.push(format!("file={}", escape_property(&place.file)));
        properties.push(format!("line={}", place.line));
    }
    let title = format!("{} {}", failure::word(test.verdict), test.title());
    properties.push(format!("title={}", escape_property(&title)));
    let mut text = Vec::new();
    let mut line = |key: &str, value: &str| text.push(format!("{key}: {value}"));
    for (key, value) in [("expected", &test.expected), ("observed", &test.observed)] {
        if let Some(value) = value {
            line(key, value);
        }
    }
    if let Some(message) = &test.message {
        line("message", shorten(message));
    }
    for cause in test.causes() {
        line("cause", &format!("{}: {}", cause.title, cause.cause));
        line("cure", &cause.cure);
    }
    for bundle in &test.evidence {
        let page = Path::new(dir).join(bundle.page());
        line("evidence", &page.display().to_string());
    }
    line("log", &format!("{dir}/{}", test.log));
    format!(
        "::error {}::{}",
        properties.join(","),
        escape_data(&text.join("\n"))
    )
}

/// Escapes a text for the message of a runner command.
fn escape_data(text: &str) -> String {
    let percent = text.replace('%', "%25");
    percent.replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a text for a property of a runner command, where colons and commas are special too.
fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A table of all tests. Tests that did not pass come first, with their messages.
fn summary(report: &Report) -> String {
    let totals = &report.totals;
    let mut text = format!(
        "### kubenest: {} passed, {} failed, {} broken set-ups, {} skipped in {:.0} s\n\n\
         | | suite | side | test | versions | seconds | why |\n\
         | --- | --- | --- | --- | --- | ---: | --- |\n",
        totals.passed,
        totals.failed,
        totals.setup + totals.interrupted,
        totals.ignored + totals.skipped,
        report.seconds,
    );
    let mut tests: Vec<_> = report.tests.iter().collect();
    tests.sort_by_key(|test| !test.verdict.is_red());
    for test in tests {
        let cells = [
            failure::word(test.verdict).to_owned(),
            test.suite.clone(),
            test.side.clone(),
            with_node(below_side(&test.test, &test.side), test.node.as_deref()),
            test.version_list(),
            format!("{:.1}", test.seconds),
            explain(test),
        ];
        let cells = cells.map(|text| cell(&text));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text + "\n"
}

fn explain(test: &TestReport) -> String {
    if test.verdict == Verdict::Passed {
        return String::new();
    }
    let message = test.message.as_deref().map(shorten).map(str::to_owned);
    let causes = test.causes().into_iter();
    let causes = causes.map(|cause| format!("Cause: {}. {}", cause.title, cause.cause));
    message
        .into_iter()
        .chain(causes)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Escapes a text for a cell of a Markdown table, so that no character of it is markup.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for letter in text.trim().chars() {
        match letter {
            '\n' => cell.push_str("<br>"),
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '#' | '@' => {
                cell.push_str(&format!("&#{};", u32::from(letter)));
            }
            _ => cell.push(letter),
        }
    }
    cell
}

fn shorten(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(MESSAGE_LIMIT)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn an_annotation_is_one_line_that_commands_nothing_else() {
        let mut test = report().tests.remove(1);
        test.message = Some("100% gone\r\n::warning::forged, or not".to_owned());
        insta::assert_snapshot!(annotation(&test, "target/e2e/r"));
    }

    #[test]
    fn the_summary_is_a_table_with_the_failures_first() {
        insta::assert_snapshot!(summary(&report()));
    }

    #[test]
    fn nothing_leaves_its_cell() {
        assert_eq!(
            cell("a|b\n<img> `c` _d_ &lt;"),
            "a&#124;b<br>&lt;img> &#96;c&#96; &#95;d&#95; &amp;lt;"
        );
    }
}
