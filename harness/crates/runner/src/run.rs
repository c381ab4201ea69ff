//! A whole run: from the requested tests to the reports and an exit code.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::Utc;
use kubenest_protocol::exit;
use kubenest_protocol::preparing::Memory;

use crate::args::RunArgs;
use crate::by_node::ByNode;
use crate::left_out::LeftOut;
use crate::nodes::Nodes;
use crate::out::{self, say};
use crate::package::Side;
use crate::plan::{self, Plan, Test};
use crate::progress::Progress;
use crate::record::{self, End, RunRecord};
use crate::report::Report;
use crate::request::{Kubenest, Request};
use crate::run_dir::RunDir;
use crate::runner::Runner;
use crate::{compile, github, html, junit, prepare, signals, totals, unprepared};

/// Builds and runs the selected tests, writes the reports and returns the exit code.
///
/// # Errors
/// The command line is wrong, a report cannot be written, or the run was interrupted.
pub fn run(request: &Request, args: &RunArgs) -> anyhow::Result<u8> {
    if request.json {
        out::keep_for_json();
    }
    let early = ask_early(request, args)?;
    let (kubenest, mut plan) = match build(request) {
        Ok(built) => built,
        Err(error) if signals::received().is_none() => {
            say(&format!("SETUP  {error:#}"));
            return Ok(exit::SETUP_FAILED);
        }
        Err(error) => return Err(error),
    };
    if plan.tests.is_empty() && plan.filtered_out == 0 && request.selection.owed_sides().is_empty()
    {
        say(&no_tests_message(request));
        return Ok(exit::NOTHING_RAN);
    }
    let nodes = early.map_or_else(|| Nodes::ask(&kubenest, args), Ok)?;
    let inapplicable = nodes.spread(&mut plan)?;
    // A choice whose tests are all left out names tests all the same.
    let unmatched = request.selection.unmatched_choices(&plan.tests);
    let left_out = leave_out(&mut plan, args, &nodes.memory);
    let dir = RunDir::create(&request.results, Utc::now())?;
    if let Some(former) = &args.locked {
        dir.take_lock(former)?;
    }
    let prepared = prepare::prepare(&kubenest, &dir, &plan.tests);
    let mut prepared = prepared.inspect_err(|_| {
        // No test ran, so the folder has nothing to show.
        std::fs::remove_dir_all(&dir.path).ok();
    })?;
    let clock = Instant::now();
    let mut record = RunRecord {
        run: dir.run.clone(),
        started: Utc::now(),
        owed: owed_sides(request, &left_out),
        unmatched,
        filtered_out: plan.filtered_out,
        preparing: prepared.made.take(),
        nodes: nodes.all,
        inapplicable,
        end: None,
    };
    record.write(&dir)?;
    let progress = Progress::new(plan.tests.len(), kubenest.clone());
    let runner = Runner::new(&dir, args, request, kubenest, &prepared);
    let quiet = github::quiet();
    let written = runner.run(&plan.tests, &progress);
    progress.finish();
    drop(quiet);

    record.end = Some(End {
        seconds: clock.elapsed().as_secs_f64(),
        interrupted: signals::exit_code(),
    });
    record.write(&dir)?;
    let report = write_reports(&dir, &[])?;
    unprepared::warnings(&report, request.declares_all)
        .iter()
        .for_each(|warning| say(warning));
    // Trouble with the folders of earlier runs must not hide the outcome of this one.
    if let Err(error) = dir.publish() {
        eprintln!("warning: {error:#}");
    }
    for test in left_out {
        say(&test.line);
    }
    print_outcome(&report, &dir)?;
    written?;
    if request.json {
        print!("{}", json(&report)?);
    }
    Ok(report.exit_code)
}

/// Leaves out the tests for which the command line or the time gives a reason.
fn leave_out(plan: &mut Plan, args: &RunArgs, memory: &Memory) -> Vec<LeftOut> {
    let mut left_out = plan.leave_out_by_need(&args.leave_out);
    if let Some(within) = args.within {
        let jobs = args.jobs(plan.tests.iter().any(Test::is_long));
        left_out.extend(plan.leave_out_by_time(within, jobs, memory));
    }
    left_out
}

/// The sides of which the run must have a test, except those of which one was left out.
fn owed_sides(request: &Request, left_out: &[LeftOut]) -> Vec<(String, Side)> {
    let mut owed = request.selection.owed_sides();
    owed.retain(|(package, side)| !left_out.iter().any(|test| test.is_of(package, *side)));
    owed
}

/// The nodes of the run, if the program that knows them need not be built first: a name that means
/// no node is known before the minutes that a build may take.
fn ask_early(request: &Request, args: &RunArgs) -> anyhow::Result<Option<Nodes>> {
    match &request.kubenest {
        Kubenest::At(kubenest) => Nodes::ask(kubenest, args).map(Some),
        Kubenest::Built => Ok(None),
    }
}

fn no_tests_message(request: &Request) -> String {
    let packages = request.selection.packages.iter();
    let names: Vec<_> = packages.map(|package| package.name.as_str()).collect();
    let code = exit::NOTHING_RAN;
    format!(
        "NOTHING RAN  there is no test in {}, exit {code}",
        names.join(", ")
    )
}

/// Makes the reports in a run's folder again, from the contents of that folder and of the other
/// folders, and returns the exit code.
///
/// # Errors
/// A folder is not that of a run, or a report cannot be written.
pub fn report(folder: &Path, others: &[PathBuf]) -> anyhow::Result<u8> {
    let dir = record::open(folder)?;
    let report = write_reports(&dir, others)?;
    print_outcome(&report, &dir)?;
    Ok(report.exit_code)
}

fn build(request: &Request) -> anyhow::Result<(PathBuf, Plan)> {
    let selection = &request.selection;
    if selection.packages.is_empty() {
        return Ok(Default::default());
    }
    let built = compile::build(&request.folder, &request.build)?;
    let kubenest = match &request.kubenest {
        Kubenest::Built => compile::kubenest(&built)?,
        Kubenest::At(path) => path.clone(),
    };
    let programs = compile::test_programs(built, &selection.packages);
    Ok((kubenest, plan::plan(&programs, selection)?))
}

/// Writes the reports into the folder of the run; the other folders are part of the reports.
fn write_reports(dir: &RunDir, others: &[PathBuf]) -> anyhow::Result<Report> {
    let report = record::read(dir, others)?;
    dir.write("junit.xml", junit::xml(&report)?.as_bytes())?;
    dir.write("report.json", json(&report)?.as_bytes())?;
    dir.write("report.html", html::page(&report, dir).as_bytes())?;
    Ok(report)
}

fn json(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// Prints how a run ended; the closing line comes last.
fn print_outcome(report: &Report, dir: &RunDir) -> anyhow::Result<()> {
    let code = exit::NOTHING_RAN;
    for asked in &report.nothing_ran {
        say(&format!(
            "NOTHING RAN  {asked}: no such test ran, exit {code}"
        ));
    }
    if report.tests.is_empty() && report.nothing_ran.is_empty() {
        say(&format!(
            "NOTHING RAN  no test matches what was asked for, exit {code}"
        ));
    }
    github::report_failures(report, &dir.display_path())?;
    if let Some(matrix) = ByNode::of(report) {
        say(&format!("\n{}", matrix.text()));
    }
    for preparing in &report.preparing {
        say(&preparing.closing_line());
    }
    say(&format!("report  {}/report.html", dir.display_path()));
    let line = totals::closing_line(&report.totals, report.exit_code, report.seconds);
    say(&format!("\n{line}"));
    Ok(())
}
