//! Runs tests: each in a process of its own, with a log and a folder for verdict files.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use chrono::Utc;
use kubenest_protocol::preparing::{LastRun, Memory};
use kubenest_protocol::{Demand, Verdict, VerdictFile};

use crate::args::RunArgs;
use crate::bundle::{self, Bundle};
use crate::log::tail;
use crate::making::round_to_milliseconds;
use crate::outcome::Outcome;
use crate::place;
use crate::plan::Test;
use crate::prepare::{self, Prepared};
use crate::process::{self, ProgramEnd, Running};
use crate::progress::Progress;
use crate::record;
use crate::request::Request;
use crate::run_dir::RunDir;
use crate::slots::Slots;
use crate::stay::{Stay, StayLog};
use crate::test_report::{TestReport, Times};
use crate::verdict::{self, Facts};
use crate::{left_out, program, signals};

/// How many bytes from the end of a log are searched for the test's error message.
const TAIL: u64 = 256 * 1024;

/// The state that all tests of a run share.
pub(crate) struct Runner<'a> {
    dir: &'a RunDir,
    args: &'a RunArgs,
    request: &'a Request,
    /// The program that removes what a crashed test left behind.
    kubenest: PathBuf,
    prepared: &'a Prepared,
    /// Whether a test has crashed.
    crashed: AtomicBool,
    /// What the tests of this run that passed asked for, and how long they took.
    passed: Mutex<Memory>,
}

impl<'a> Runner<'a> {
    /// A runner whose tests write their files to this folder.
    pub(crate) fn new(
        dir: &'a RunDir,
        args: &'a RunArgs,
        request: &'a Request,
        kubenest: PathBuf,
        prepared: &'a Prepared,
    ) -> Self {
        Self {
            dir,
            args,
            request,
            kubenest,
            prepared,
            crashed: AtomicBool::new(false),
            passed: Mutex::default(),
        }
    }

    /// Runs the tests, several at a time and in order, except that those that mostly wait come
    /// first, and those that need the whole machine last. An interrupt prevents further starts. The outcome of each test is written to the
    /// run's folder.
    ///
    /// # Errors
    /// The outcome of a test cannot be written.
    pub(crate) fn run(&self, tests: &[Test], progress: &Progress) -> anyhow::Result<()> {
        let (alone, others): (Vec<_>, Vec<_>) = tests.iter().partition(|test| test.runs_alone());
        let (mut queue, short): (VecDeque<_>, VecDeque<_>) =
            others.into_iter().partition(|test| test.is_long());
        let jobs = self.args.jobs(!queue.is_empty()).min(tests.len());
        queue.extend(short);
        let slots = Slots::new(jobs);
        let unwritten = Mutex::new(Ok(()));
        let run = |test: &Test, slot| {
            let report = self.run_one(test, &slots, slot, progress);
            progress.end(&report, self.dir);
            if let Err(error) = record::write_outcome(&self.dir.outcome(test), &report) {
                *unwritten.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        };
        let run = &run;
        std::thread::scope(|scope| {
            for test in queue {
                let Some(slot) = slots.take(|| signals::received().is_some()) else {
                    break;
                };
                scope.spawn(move || run(test, slot));
            }
        });
        for test in alone {
            let Some(slot) = slots.take(|| signals::received().is_some()) else {
                break;
            };
            run(test, slot);
        }
        self.remember();
        // Only after all tests have ended: cleaning goes by the run's id, which the clusters of the
        // other tests have too.
        if signals::received().is_some() || self.crashed.load(Relaxed) {
            self.clean_up();
        }
        unwritten
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn run_one(&self, test: &Test, slots: &Slots, slot: usize, progress: &Progress) -> TestReport {
        let (started, clock) = (Utc::now(), Instant::now());
        let log = self.dir.log(test);
        let verdicts = self.dir.verdicts(test);
        let mut stays = StayLog::default();
        let outcome = Stay::begin(slots, slot, &verdicts)
            .with_context(|| format!("make {}", verdicts.display()))
            .and_then(|mut stay| {
                let outcome = self.outcome(test, &log, &mut stay, progress);
                stays = stay.end();
                outcome
            })
            .unwrap_or_else(|error| {
                let message = format!("the test cannot be run: {error:#}");
                Outcome::new(Verdict::Setup, Some(message))
            });
        let undeclared = self.prepared.undeclared(test, &outcome.demands);
        let asked = test.asked(&outcome.demands);
        let times = Times {
            started,
            seconds: round_to_milliseconds(clock.elapsed().as_secs_f64()),
            stays,
        };
        let mut report = TestReport::new(test, outcome, times);
        if report.verdict == Verdict::Passed {
            let last = LastRun {
                declared: test.declared(),
                asked,
                timing: left_out::timing(Utc::now(), report.seconds),
            };
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            passed.tests.insert(test.whole_name(), last);
        }
        let below = log.strip_prefix(&self.dir.path).unwrap_or(&log);
        report.undeclared = undeclared;
        report.log = below.display().to_string();
        report.again = (self.request.front.again)(test);
        report
    }

    fn outcome(
        &self,
        test: &Test,
        log: &Path,
        stay: &mut Stay<'_>,
        progress: &Progress,
    ) -> anyhow::Result<Outcome> {
        let verdicts = self.dir.verdicts(test);
        let mut command = self.command(test, log, &verdicts)?;
        let limit = test.package.limit.mul_f64(patience());
        let running = Running::start(&mut command)?;
        let mut line = progress.start(test);
        let ended = running.wait_counting(Some(limit), || {
            let uncounted = stay.look();
            line.tick(log, stay.making());
            uncounted
        });
        line.clear();
        let ProgramEnd { status, timed_out } = ended?;
        let crashed = timed_out || status.signal().is_some();
        if crashed {
            self.crashed.store(true, Relaxed);
            if let Err(error) = program::finish_killed(&self.kubenest, self.dir) {
                eprintln!("warning: {error:#}");
            }
        }
        let files = verdict::read(&verdicts)?;
        // The log is redacted first, since messages quote it and other people read it.
        program::redact_log(&self.kubenest, log)?;
        let log = tail(log, TAIL);
        let (verdict, message) = verdict::judge(&Facts {
            status,
            timed_out,
            interrupted: signals::received().is_some(),
            log: &log,
            files: &files,
            has_sides: !test.package.sides.is_empty(),
        });
        let place = || place::find(test, &self.request.root, &log);
        Ok(Outcome {
            place: verdict.is_red().then(place).flatten(),
            evidence: self.bundles(test, verdict, &files),
            demands: Demand::of(&verdicts),
            files,
            ..Outcome::new(verdict, message)
        })
    }

    /// The evidence bundles of a test with this verdict.
    fn bundles(&self, test: &Test, verdict: Verdict, files: &[VerdictFile]) -> Vec<Bundle> {
        let home = self.dir.evidence(test);
        if !verdict.is_red() && !evidence_always() {
            // The evidence is of the very failure that the test is about.
            fs::remove_dir_all(&home).ok();
        }
        // The bundles of the verdict that decided come first.
        let (telling, others): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.verdict == verdict);
        let told = telling.into_iter().chain(others);
        let told = told.filter_map(|file| file.evidence.clone());
        bundle::folders(told, &home)
            .iter()
            .map(|folder| Bundle::read(folder, &self.dir.path))
            .collect()
    }

    /// Remembers for the next run what tests asked for and how long they took.
    fn remember(&self) {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = prepare::remember(&self.kubenest, self.dir, passed.clone()) {
            eprintln!("warning: {error:#}");
        }
    }

    fn command(&self, test: &Test, log: &Path, verdicts: &Path) -> anyhow::Result<Command> {
        let parent = log.parent().context("a log has a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        let log = File::create(log).with_context(|| format!("write {}", log.display()))?;
        let mut command = process::command(&test.program);
        command
            .args(["--exact", &test.name, "--nocapture"])
            // With one thread libtest would mix the test's name into the test's output.
            .arg("--test-threads=2")
            .current_dir(&test.package.dir)
            .env("CARGO_MANIFEST_DIR", &test.package.dir)
            .env("CARGO_PKG_NAME", &test.package.name)
            .env("KUBENEST_RUN", &self.dir.run)
            .env("KUBENEST_VERDICTS", verdicts)
            .env("KUBENEST_EVIDENCE", self.dir.evidence(test))
            .env("KUBENEST_LOCK", self.dir.lock())
            .env("NO_COLOR", "1")
            .envs(self.prepared.variables())
            .stdout(Stdio::from(log.try_clone().context("share the log")?))
            .stderr(Stdio::from(log));
        if let Some(node) = test.node() {
            command.env("KUBENEST_NODE", node);
        }
        if self.args.keep {
            command.env("KUBENEST_KEEP", "1");
        }
        if let Some(identity) = process::own_identity() {
            command.env("KUBENEST_PARENT", identity);
        }
        Ok(command)
    }

    /// Removes what the tests of this run left behind, unless it is to be kept.
    fn clean_up(&self) {
        if self.args.keep {
            return;
        }
        if let Err(error) = program::clean_run(&self.kubenest, self.dir) {
            let clean = self.request.front.clean;
            eprintln!("warning: {error:#}; remove what is left with: {clean}");
        }
    }
}

/// Whether the evidence of passed tests is kept as well.
#[expect(clippy::disallowed_methods, reason = "the library's own setting")]
fn evidence_always() -> bool {
    let set = std::env::var("KUBENEST_EVIDENCE_ALWAYS").unwrap_or_default();
    !matches!(set.as_str(), "" | "0" | "false")
}

/// The factor by which the user's settings lengthen the deadlines of tests.
#[expect(clippy::disallowed_methods, reason = "the library's own setting")]
fn patience() -> f64 {
    let set = std::env::var("KUBENEST_PATIENCE").unwrap_or_default();
    let factor = set
        .parse()
        .ok()
        .filter(|factor| (1.0..=20.0).contains(factor));
    factor.unwrap_or(1.0)
}
