//! The contents of a run's folder: `run.json` for the run as a whole, and an outcome for each test
//! that has ended. Reports are made from these files alone, so that the folder of another machine
//! can be added.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, Utc};
use kubenest_protocol::preparing::Node;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::making::Preparation;
use crate::nodes::Inapplicable;
use crate::package::Side;
use crate::plan::Chosen;
use crate::report::Report;
use crate::run_dir::{OUTCOMES, RunDir};
use crate::saved::gate_savings;
use crate::test_report::{TestReport, below};
use crate::totals::{self, Totals};

/// Name of the file about the run as a whole.
const RUN: &str = "run.json";
/// The exit code that a shell gives for a killed program: only a kill ends a run without a record
/// of its end.
const KILLED: u8 = 137;

/// The record of a whole run. It is written when the run begins and again when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) run: String,
    /// When the tests of the run began.
    pub(crate) started: DateTime<Utc>,
    /// The sides of which at least one test has to run.
    pub(crate) owed: Vec<(String, Side)>,
    /// The choices that match no test's name.
    pub(crate) unmatched: Vec<Chosen>,
    pub(crate) filtered_out: usize,
    /// What was made for the tests before they ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) preparing: Option<Preparation>,
    /// The nodes of a run on several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) nodes: Vec<Node>,
    /// Where tests do not apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inapplicable: Vec<Inapplicable>,
    /// How the run ended; `None` while it runs, and after a kill.
    pub(crate) end: Option<End>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    /// Wall-clock seconds of all tests, without the build and the preparation.
    pub(crate) seconds: f64,
    /// The exit code, if the run was interrupted.
    pub(crate) interrupted: Option<u8>,
}

/// The contents of one run's folder.
struct Read {
    record: RunRecord,
    tests: Vec<TestReport>,
}

impl RunRecord {
    pub(crate) fn write(&self, dir: &RunDir) -> anyhow::Result<()> {
        dir.write(RUN, &json(self)?)?;
        Ok(())
    }

    /// When the run ended; for a killed run, when its last test ended.
    fn ended(&self, tests: &[TestReport]) -> DateTime<Utc> {
        let after = |start: DateTime<Utc>, seconds: f64| {
            start + chrono::Duration::microseconds((seconds * 1e6) as i64)
        };
        let last = tests.iter().map(|test| after(test.started, test.seconds));
        match self.end {
            Some(end) => after(self.started, end.seconds),
            None => last.max().unwrap_or(self.started),
        }
    }
}

/// Reads a run and the folders that are added to it as one report. Files of the added folders are
/// named by their whole paths, unless they are below the first folder.
pub(crate) fn read(dir: &RunDir, others: &[PathBuf]) -> anyhow::Result<Report> {
    let mut all = vec![read_folder(&dir.path)?];
    for other in others {
        let other = &fs::canonicalize(other).unwrap_or_else(|_| other.clone());
        // A shell pattern for all folders includes the first folder again.
        if *other == dir.path {
            continue;
        }
        let mut read = read_folder(other)?;
        for test in &mut read.tests {
            test.move_below(other, &dir.path);
        }
        if let Some(preparing) = &mut read.record.preparing {
            preparing.folder = below(other, &dir.path);
        }
        all.push(read);
    }
    let mut tests: Vec<_> = all.iter().flat_map(|read| &read.tests).cloned().collect();
    tests.sort_by(|a, b| a.order().cmp(&b.order()));
    let owed = all.iter().flat_map(|read| &read.record.owed);
    let mut owed: Vec<_> = owed.cloned().collect();
    owed.sort();
    owed.dedup();
    let mut nothing_ran = totals::missing_sides(&owed, &tests);
    let unmatched = all.iter().flat_map(|read| &read.record.unmatched);
    let idle = unmatched.filter(|chosen| !tests.iter().any(|test| test.is_wanted_by(chosen)));
    nothing_ran.extend(idle.map(Chosen::to_string));

    let totals = Totals::of(
        &tests,
        all.iter().map(|read| read.record.filtered_out).sum(),
    );
    let interrupted = all.iter().find_map(|read| match read.record.end {
        Some(end) => end.interrupted,
        None => Some(KILLED),
    });
    let exit_code = interrupted.unwrap_or_else(|| totals::exit_code(&totals, &nothing_ran));
    let started = all.iter().map(|read| read.record.started).min();
    let started = started.context("there must be a folder")?;
    let ended = all.iter().map(|read| read.record.ended(&read.tests)).max();
    let seconds = match (&all[..], ended) {
        ([only], _) if only.record.end.is_some() => only.record.end.map(|end| end.seconds),
        (_, ended) => ended.and_then(|ended| {
            let micros = (ended - started).num_microseconds()?;
            Some(micros as f64 / 1e6)
        }),
    };
    let preparing = all.iter().filter_map(|read| read.record.preparing.clone());
    let mut nodes: Vec<Node> = Vec::new();
    for node in all.iter().flat_map(|read| &read.record.nodes) {
        if !nodes.contains(node) {
            nodes.push(node.clone());
        }
    }
    let inapplicable = all.iter().flat_map(|read| &read.record.inapplicable);
    Ok(Report {
        run: all[0].record.run.clone(),
        preparing: preparing.collect(),
        nodes,
        inapplicable: inapplicable.cloned().collect(),
        started,
        seconds: seconds.unwrap_or_default(),
        exit_code,
        totals,
        nothing_ran,
        failures: gate_savings(&tests),
        tests,
    })
}

/// Writes the file that says how a test ended.
pub(crate) fn write_outcome(path: &Path, test: &TestReport) -> anyhow::Result<()> {
    let folder = path.parent().context("an outcome has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    crate::run_dir::write(path, &json(test)?)
}

/// Opens the folder of an earlier run.
pub(crate) fn open(folder: &Path) -> anyhow::Result<RunDir> {
    let path = fs::canonicalize(folder).with_context(|| format!("open {}", folder.display()))?;
    let record: RunRecord = from_json(&path.join(RUN))?;
    Ok(RunDir {
        run: record.run,
        path,
    })
}

fn read_folder(folder: &Path) -> anyhow::Result<Read> {
    let record = from_json(&folder.join(RUN))?;
    let mut tests = Vec::new();
    for package in sorted_entries(&folder.join(OUTCOMES))? {
        for outcome in sorted_entries(&package)? {
            let is_json = outcome.extension().is_some_and(|ending| ending == "json");
            if is_json {
                tests.push(from_json(&outcome)?);
            }
        }
    }
    Ok(Read { record, tests })
}

/// The entries of a folder, sorted by name; none if the folder does not exist.
fn sorted_entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = list().with_context(|| format!("list {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

fn json(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

fn from_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use kubenest_protocol::exit;

    use super::*;
    use crate::test_report::tests::{at, results};

    /// A run that owes both sides of its package and ended after two minutes.
    fn record(run: &str) -> RunRecord {
        RunRecord {
            run: run.to_owned(),
            started: at(0),
            owed: [Side::Affected, Side::Fixed]
                .map(|side| ("image-gc".to_owned(), side))
                .into(),
            unmatched: vec![],
            filtered_out: 1,
            preparing: None,
            nodes: vec![],
            inapplicable: vec![],
            end: Some(End {
                seconds: 120.0,
                interrupted: None,
            }),
        }
    }

    /// The folder of a run in which these tests ended.
    fn folder(all: &Path, record: &RunRecord, tests: &[TestReport]) -> RunDir {
        let path = all.join(&record.run);
        fs::create_dir(&path).unwrap();
        let dir = RunDir {
            run: record.run.clone(),
            path: fs::canonicalize(path).unwrap(),
        };
        record.write(&dir).unwrap();
        for test in tests {
            let file = format!("{}.{}.json", test.target, test.test.replace("::", "."));
            let path = dir.path.join(OUTCOMES).join(&test.suite).join(file);
            write_outcome(&path, test).unwrap();
        }
        dir
    }

    #[test]
    fn a_report_is_made_of_the_folder_alone() {
        let all = tempfile::tempdir().unwrap();
        let tests = results();
        let mut shuffled = tests.clone();
        shuffled.reverse();
        let dir = folder(all.path(), &record("one"), &shuffled);
        let report = read(&open(&dir.path).unwrap(), &[]).unwrap();
        assert_eq!(
            report.tests,
            [&tests[0], &tests[2], &tests[1]].map(Clone::clone)
        );
        assert_eq!((report.run.as_str(), report.started), ("one", at(0)));
        assert_eq!((report.seconds, report.totals.filtered_out), (120.0, 1));
        assert_eq!(report.exit_code, exit::SETUP_FAILED);
    }

    #[test]
    fn what_another_machine_ran_is_part_of_the_report() {
        let all = tempfile::tempdir().unwrap();
        let tests = results();
        let lost = Chosen {
            package: Some("image-gc".to_owned()),
            text: Some("is_kept".to_owned()),
        };
        let first = RunRecord {
            unmatched: vec![lost.clone()],
            ..record("one")
        };
        let first = folder(all.path(), &first, &tests[..1]);
        let alone = read(&first, &[]).unwrap();
        assert_eq!(alone.nothing_ran, ["image-gc fixed", "image-gc::is_kept"]);
        assert_eq!(alone.exit_code, exit::NOTHING_RAN);

        let second = RunRecord {
            started: at(60),
            ..record("two")
        };
        let second = folder(all.path(), &second, &tests[1..2]);
        let both = read(&first, &[second.path.clone(), first.path.clone()]).unwrap();
        assert!(both.nothing_ran.is_empty(), "{:?}", both.nothing_ran);
        assert_eq!((both.totals.passed, both.totals.failed), (1, 1));
        assert_eq!(both.exit_code, exit::TEST_FAILED);
        assert_eq!(both.seconds, 180.0, "from the first begin to the last end");
        assert_eq!(both.tests[0], tests[0], "its own files are told from there");
        let log = second.path.join(&tests[1].log);
        assert_eq!(Path::new(&both.tests[1].log), log);
        let page = second.path.join(&tests[1].evidence[0].path);
        assert_eq!(both.tests[1].evidence[0].path, page);
    }

    #[test]
    fn what_ran_on_another_node_elsewhere_gets_its_column() {
        let all = tempfile::tempdir().unwrap();
        let run = |name: &str, nodes: &[&str]| {
            let nodes = nodes
                .iter()
                .map(|node| crate::nodes::tests::node(node, &[]));
            let record = RunRecord {
                nodes: nodes.collect(),
                ..record(name)
            };
            folder(all.path(), &record, &results()[..1])
        };
        let (first, second) = (run("one", &["1.32", "1.34"]), run("two", &["1.34", "1.37"]));
        let both = read(&first, &[second.path]).unwrap();
        let names: Vec<_> = both.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["1.32", "1.34", "1.37"]);
    }

    #[test]
    fn a_folder_that_was_copied_into_the_first_is_told_from_there() {
        let all = tempfile::tempdir().unwrap();
        let tests = results();
        let first = folder(all.path(), &record("one"), &tests[1..2]);
        let second = folder(&first.path, &record("two"), &tests[..1]);
        let both = read(&first, &[second.path]).unwrap();
        assert_eq!(both.tests[0].side, "affected", "this side comes first");
        let log = Path::new("two").join(&tests[0].log);
        assert_eq!(Path::new(&both.tests[0].log), log);
    }

    #[test]
    fn a_run_that_was_killed_or_interrupted_did_not_end_well() {
        let all = tempfile::tempdir().unwrap();
        let killed = RunRecord {
            end: None,
            ..record("killed")
        };
        let killed = folder(all.path(), &killed, &results()[..2]);
        let report = read(&killed, &[]).unwrap();
        assert_eq!((report.exit_code, report.seconds), (KILLED, 42.25));
        let end = Some(End {
            seconds: 3.0,
            interrupted: Some(130),
        });
        let interrupted = RunRecord {
            end,
            ..record("interrupted")
        };
        let interrupted = folder(all.path(), &interrupted, &results()[..1]);
        assert_eq!(read(&interrupted, &[]).unwrap().exit_code, 130);
    }

    #[test]
    fn a_folder_of_no_run_is_named() {
        let all = tempfile::tempdir().unwrap();
        let error = open(all.path()).err().unwrap();
        assert!(format!("{error:#}").contains("run.json"), "{error:#}");
    }
}
