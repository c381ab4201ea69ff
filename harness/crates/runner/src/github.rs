//! What GitHub Actions shows of a run: an annotation for each failure, and a summary.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::Context;
use kubenest_protocol::Verdict;

use crate::failure::{self, below_side};
use crate::out::say;
use crate::report::Report;
use crate::test_report::TestReport;

/// GitHub takes 1 MiB of summary per step; a message has its place in the log.
const SHOWN: usize = 2_000;

/// While it lives, nothing that tests print is a command to GitHub's runner.
pub(crate) struct Quiet(Option<String>);

/// Has the runner take all that is printed for text, if this runs there.
pub(crate) fn quiet() -> Quiet {
    // A test must not know the word that ends it; the keys of such a hash are random numbers.
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

/// Says what did not pass, if this runs there.
pub(crate) fn tell(report: &Report, dir: &str) -> anyhow::Result<()> {
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

/// The failure as a command of the runner, which shows it beside the source.
fn annotation(test: &TestReport, dir: &str) -> String {
    let mut properties = Vec::new();
    if let Some(place) = &test.place {
        properties.push(format!("file={}", property(&place.file)));
        properties.push(format!("line={}", place.line));
    }
    let title = format!("{} {}", failure::word(test.verdict), test.id());
    properties.push(format!("title={}", property(&title)));
    let mut text = Vec::new();
    let mut line = |key: &str, value: &str| text.push(format!("{key}: {value}"));
    for (key, value) in [("expected", &test.expected), ("observed", &test.observed)] {
        if let Some(value) = value {
            line(key, value);
        }
    }
    if let Some(message) = &test.message {
        line("message", shortened(message));
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
        data(&text.join("\n"))
    )
}

/// A text as a command of the runner has it.
fn data(text: &str) -> String {
    let percent = text.replace('%', "%25");
    percent.replace('\r', "%0D").replace('\n', "%0A")
}

/// Further, in a property colons and commas mean something.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A table of all tests, those that did not pass first and in full.
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
            below_side(&test.test, &test.side).to_owned(),
            test.version_list(),
            format!("{:.1}", test.seconds),
            why(test),
        ];
        let cells = cells.map(|text| cell(&text));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text + "\n"
}

fn why(test: &TestReport) -> String {
    if test.verdict == Verdict::Passed {
        return String::new();
    }
    let message = test.message.as_deref().map(shortened).map(str::to_owned);
    let causes = test.causes().into_iter();
    let causes = causes.map(|cause| format!("Cause: {}. {}", cause.title, cause.cause));
    message
        .into_iter()
        .chain(causes)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A text in a cell of a Markdown table, where no character of it means anything.
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

fn shortened(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(SHOWN)
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
