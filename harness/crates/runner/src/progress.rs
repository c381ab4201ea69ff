//! The display of a run in progress: a live line for each test on a terminal, else plain lines.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kubenest_protocol::Verdict;

use crate::failure;
use crate::log::tail;
use crate::out::say;
use crate::package::side_name;
use crate::plan::{Test, with_node};
use crate::program;
use crate::run_dir::RunDir;
use crate::test_report::TestReport;

/// Without a terminal, a running test is mentioned this often.
const STILL_RUNNING: Duration = Duration::from_secs(60);
/// How often the display reads the last line of a log.
const LOOK: Duration = Duration::from_millis(500);

/// The display of a whole run.
pub(crate) struct Progress {
    bars: MultiProgress,
    overall: ProgressBar,
    /// The program that removes secrets from a line.
    kubenest: PathBuf,
}

/// The display of one running test.
pub(crate) struct Line<'a> {
    progress: &'a Progress,
    bar: ProgressBar,
    what: String,
    started: Instant,
    looked: Instant,
    mentioned: Instant,
}

impl Progress {
    pub(crate) fn new(tests: usize, kubenest: PathBuf) -> Self {
        // Draws to standard error, and draws nothing where that is no terminal.
        let bars = MultiProgress::new();
        let overall = bars.add(ProgressBar::new(tests as u64));
        overall.set_style(style("  {pos}/{len} tests  {elapsed}"));
        overall.enable_steady_tick(LOOK);
        Self {
            bars,
            overall,
            kubenest,
        }
    }

    pub(crate) fn start(&self, test: &Test) -> Line<'_> {
        let side = side_name(test.side);
        let name = with_node(failure::below_side(&test.name, &side), test.node());
        let what = format!("{}  {side}  {name}", test.package.name);
        let bar = self
            .bars
            .insert_before(&self.overall, ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {prefix}  {elapsed}  {wide_msg}"));
        bar.set_prefix(what.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        let now = Instant::now();
        Line {
            progress: self,
            bar,
            what,
            started: now,
            looked: now,
            mentioned: now,
        }
    }

    /// Prints the line of a finished test, and the reason if the test did not pass.
    pub(crate) fn end(&self, test: &TestReport, dir: &RunDir) {
        self.overall.inc(1);
        let line = failure::line(test);
        let word = failure::word(test.verdict);
        let rest = line.strip_prefix(word).unwrap_or(&line);
        let color = match test.verdict {
            Verdict::Passed => Style::new().green(),
            Verdict::Ignored | Verdict::Skipped => Style::new().yellow(),
            _ => Style::new().red().bold(),
        };
        self.say(&format!("{}{rest}", color.apply_to(word)));
        if matches!(test.verdict, Verdict::Failed | Verdict::Setup) {
            self.say(&format!("\n{}", failure::block(test, &dir.display_path())));
        }
    }

    /// Removes the live lines.
    pub(crate) fn finish(&self) {
        self.overall.finish_and_clear();
    }

    fn say(&self, text: &str) {
        self.bars.suspend(|| say(text));
    }
}

impl Line<'_> {
    /// Shows the last line that the test wrote, or what the test makes while it has no slot.
    pub(crate) fn tick(&mut self, log: &Path, making: Option<&str>) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        if !self.progress.bars.is_hidden() {
            let making = making.map(|what| format!("makes {what}, which nobody had prepared"));
            self.bar
                .set_message(making.unwrap_or_else(|| last_line(log)));
        } else if self.mentioned.elapsed() >= STILL_RUNNING {
            self.mentioned = Instant::now();
            let seconds = self.started.elapsed().as_secs();
            if let Some(making) = making {
                say(&format!("PREPARING  {}  {seconds}s  {making}", self.what));
                return;
            }
            // Other people read these lines, so secrets are removed. The terminal belongs to the
            // user alone, and is redrawn too often for that.
            let last = program::redact_line(&self.progress.kubenest, &last_line(log));
            say(&format!("RUNNING  {}  {seconds}s  {last}", self.what));
        }
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn last_line(log: &Path) -> String {
    let text = tail(log, 4096);
    let line = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default();
    console::strip_ansi_codes(line)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template must be valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_safe_to_show() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n\u{1b}[31mtwo\u{1b}[0m\u{7}\tthree\n\n").unwrap();
        assert_eq!(last_line(file.path()), "twothree");
    }
}
