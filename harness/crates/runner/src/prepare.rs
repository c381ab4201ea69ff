//! Runs the program `kubenest` to make what tests need, before the tests take slots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use kubenest_protocol::Demand;
use kubenest_protocol::preparing::{Event, Memory, Plan, TestNeeds};

use crate::making::{Making, Preparation, round_to_milliseconds};
use crate::out::say;
use crate::plan::Test;
use crate::preparing_view::PreparingView;
use crate::process::{self, Running};
use crate::program;
use crate::run_dir::RunDir;
use crate::signals;

/// How long the whole preparation may take.
const LONGEST: Duration = Duration::from_secs(6 * 60 * 60);
/// How long events that the program wrote before its end may take to arrive.
const LAST_EVENT: Duration = Duration::from_secs(5);
/// The log with the program's own messages.
const LOG: &str = "preparing.log";

/// What the runner knows about the needs of a run's tests.
#[derive(Default)]
pub(crate) struct Prepared {
    /// What was made, if anything.
    pub(crate) made: Option<Preparation>,
    plan: Plan,
    /// Whether the program said what is to be made, or why nothing can be made.
    has_answered: bool,
}

/// Makes what these tests need. A need that cannot be made fails only the tests that use it, with
/// the reason.
///
/// # Errors
/// A declared need is unknown, or the program cannot be run.
pub(crate) fn prepare(kubenest: &Path, dir: &RunDir, tests: &[Test]) -> anyhow::Result<Prepared> {
    let tests = tests
        .iter()
        .map(|test| (test.whole_name(), test.declared()));
    let needs = TestNeeds {
        tests: tests.collect(),
    };
    let needs = dir.write("needs.json", &serde_json::to_vec(&needs)?)?;
    let log = dir.path.join(LOG);
    let log_file = File::create(&log).with_context(|| format!("write {}", log.display()))?;
    let mut command = process::command(kubenest);
    command
        .args(["prepare", "--json", "--for"])
        .arg(needs)
        .env("KUBENEST_RUN", &dir.run)
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log_file));
    if let Some(identity) = process::own_identity() {
        command.env("KUBENEST_PARENT", identity);
    }
    let mut running = Running::start(&mut command)?;
    let events = read(
        running
            .child
            .stdout
            .take()
            .context("stdout must be piped")?,
    );
    let mut record = Record::default();
    let ended = running.wait(Some(LONGEST), || {
        events.try_iter().for_each(|event| record.take(event));
        record.tick();
    });
    // The program has ended and usually closed the pipe, which ends this loop. A process that it
    // started may hold the pipe open, so the wait for a further event is bounded.
    while let Ok(event) = events.recv_timeout(LAST_EVENT) {
        record.take(event);
    }
    let prepared = record.end();
    program::redact_log(kubenest, &log)?;
    let status = ended?.status;
    let prepared = prepared?;
    if !prepared.has_answered && !status.success() && signals::received().is_none() {
        let log = log.display();
        say(&format!(
            "warning: nothing is prepared: kubenest prepare ended with {status}, see {log}"
        ));
    }
    Ok(prepared)
}

/// The events of the program, in the order in which they come.
fn read(stdout: ChildStdout) -> Receiver<Event> {
    let (sender, events) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str(&line)
                && sender.send(event).is_err()
            {
                return;
            }
        }
    });
    events
}

/// The progress of a preparation.
#[derive(Default)]
struct Record {
    plan: Plan,
    view: Option<PreparingView>,
    begun: Option<(Instant, DateTime<Utc>)>,
    pieces: BTreeMap<usize, DateTime<Utc>>,
    made: Vec<Making>,
    refused: Option<(String, bool)>,
    has_answered: bool,
}

impl Record {
    fn take(&mut self, event: Event) {
        if let Some(view) = &mut self.view {
            view.take(&event);
        }
        self.has_answered = true;
        match event {
            Event::Refused { message, usage } => self.refused = Some((message, usage)),
            // That answers another question.
            Event::Recalled { .. } => {}
            Event::Plan(plan) => {
                self.plan = plan;
                if !self.plan.pieces.is_empty() {
                    self.view = Some(PreparingView::begin(&self.plan));
                    self.begun = Some((Instant::now(), Utc::now()));
                }
            }
            Event::Started { piece } => drop(self.pieces.insert(piece, Utc::now())),
            Event::Made { piece, seconds } => self.end_piece(piece, seconds, None),
            Event::Failed {
                piece,
                seconds,
                message,
            } => self.end_piece(piece, seconds, Some(message)),
        }
    }

    fn end_piece(&mut self, piece: usize, seconds: f64, failed: Option<String>) {
        let Some(planned) = self.plan.pieces.get(piece) else {
            return;
        };
        self.made.push(Making {
            name: planned.name.clone(),
            started: self.pieces.get(&piece).copied().unwrap_or_else(Utc::now),
            seconds: round_to_milliseconds(seconds),
            failed,
        });
    }

    fn tick(&mut self) {
        if let Some(view) = &mut self.view {
            view.tick();
        }
    }

    fn end(self) -> anyhow::Result<Prepared> {
        if let Some(view) = self.view {
            view.end();
        }
        match self.refused {
            Some((message, true)) => return Err(anyhow!(message)),
            Some((message, false)) => say(&format!("warning: nothing is prepared: {message}")),
            None => {}
        }
        let made = self.begun.map(|(clock, started)| Preparation {
            folder: Default::default(),
            started,
            seconds: round_to_milliseconds(clock.elapsed().as_secs_f64()),
            pieces: self.made,
        });
        Ok(Prepared {
            made,
            plan: self.plan,
            has_answered: self.has_answered,
        })
    }
}

impl Prepared {
    /// The variables by which tests' other tools find the engine of their clusters.
    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.plan.variables
    }

    /// The needs that a test asked for and its manifest does not declare; none if nothing is known
    /// about the test.
    pub(crate) fn undeclared(&self, test: &Test, demands: &[Demand]) -> Vec<String> {
        let declared = test.declared();
        let known: Option<Vec<_>> = declared
            .iter()
            .map(|need| self.plan.needs.get(need))
            .collect();
        let Some(known) = known else {
            return vec![];
        };
        let known: BTreeSet<_> = known.into_iter().flatten().chain(&declared).collect();
        let mut undeclared = test.asked(demands);
        undeclared.retain(|need| !known.contains(need));
        undeclared
    }
}

/// Runs the program to remember what tests asked for.
///
/// # Errors
/// The program fails.
pub(crate) fn remember(kubenest: &Path, dir: &RunDir, news: Memory) -> anyhow::Result<()> {
    if news.tests.is_empty() {
        return Ok(());
    }
    let news = dir.write("asked.json", &serde_json::to_vec(&news)?)?;
    let path = news.display().to_string();
    program::quietly(kubenest, dir, &["prepare", "--remember", &path])?;
    fs::remove_file(&news).with_context(|| format!("remove {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs::Needs;
    use crate::plan::tests::{image_gc, test};

    fn demand(need: &str, made: bool) -> Demand {
        let need = need.to_owned();
        Demand { need, made }
    }

    fn declaring(needs: &[&str]) -> Test {
        let table = serde_json::json!({"kubenest": {"needs": needs}});
        let mut package = image_gc();
        package.needs = Needs::of(&table, Path::new("")).unwrap();
        test(&package, "fixed::is_kept")
    }

    fn prepared() -> Prepared {
        let names = ["default", "v1", "containerd 2.0.2"].map(str::to_owned);
        let mut prepared = Prepared::default();
        prepared.plan.needs = [("default".to_owned(), names.to_vec())].into();
        prepared
    }

    #[test]
    fn what_a_test_asks_for_beside_what_its_needs_stand_for_is_not_declared() {
        let demands = ["default", "containerd 2.0.2", "kind 0.27.0"];
        let demands = demands.map(|need| demand(need, false));
        let of = |needs: &[&str]| prepared().undeclared(&declaring(needs), &demands);
        assert_eq!(of(&["default"]), ["kind 0.27.0"]);
        assert!(of(&["unknown"]).is_empty(), "nothing is known of that");
        assert_eq!(of(&[]).len(), 3);
    }
}
