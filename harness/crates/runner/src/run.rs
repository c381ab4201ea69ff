//! A run: from the tests asked for to reports and an exit code.

use std::path::PathBuf;
use std::time::Instant;

use chrono::Utc;
use kubenest_protocol::exit;

use crate::args::RunArgs;
use crate::plan::{self, Plan};
use crate::progress::Progress;
use crate::report::{self, Report, Totals};
use crate::request::{Kubenest, Request};
use crate::run_dir::RunDir;
use crate::runner::Runner;
use crate::saved::saved;
use crate::{compile, github, html, junit, signals};

/// Builds and runs the tests selected, writes the reports and says how it ended.
///
/// # Errors
/// The command line is wrong, a report cannot be written, or the run was interrupted.
pub fn run(request: &Request, args: &RunArgs) -> anyhow::Result<u8> {
    let (kubenest, plan) = match build(request) {
        Ok(built) => built,
        Err(error) if signals::received().is_none() => {
            println!("SETUP  {error:#}");
            return Ok(exit::SETUP_FAILED);
        }
        Err(error) => return Err(error),
    };
    let selection = &request.selection;
    let started = Utc::now();
    let clock = Instant::now();
    let dir = RunDir::create(&request.results, started)?;
    if let Some(former) = &args.locked {
        dir.take_lock(former)?;
    }
    let progress = Progress::new(plan.tests.len(), kubenest.clone());
    let runner = Runner::new(&dir, args, request, kubenest);
    let quiet = github::quiet();
    let tests = runner.run(&plan.tests, &progress);
    progress.finish();
    drop(quiet);

    let totals = Totals::of(&tests, plan.filtered_out);
    let mut nothing_ran = report::missing_sides(&selection.owed(), &tests);
    nothing_ran.extend(selection.unmatched(&plan.tests));
    let exit_code = report::exit_code(&totals, &nothing_ran);
    let report = Report {
        run: dir.run.clone(),
        started,
        seconds: clock.elapsed().as_secs_f64(),
        exit_code: signals::exit_code().unwrap_or(exit_code),
        totals,
        nothing_ran,
        failures: saved(&tests),
        tests,
    };
    publish(&report, &dir)?;
    Ok(report.exit_code)
}

fn build(request: &Request) -> anyhow::Result<(PathBuf, Plan)> {
    let selection = &request.selection;
    if selection.packages.is_empty() {
        return Ok(Default::default());
    }
    let built = compile::build(&request.root, &request.build)?;
    let kubenest = match &request.kubenest {
        Kubenest::Built => compile::kubenest(&built)?,
        Kubenest::At(path) => path.clone(),
    };
    let programs = compile::test_programs(built, &selection.packages);
    Ok((kubenest, plan::plan(&programs, selection)?))
}

/// Writes the results and prints how the run ended; the closing line comes last.
fn publish(report: &Report, dir: &RunDir) -> anyhow::Result<()> {
    dir.write("junit.xml", junit::xml(report)?.as_bytes())?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    dir.write("report.json", json.as_bytes())?;
    dir.write("report.html", html::page(report, dir).as_bytes())?;
    // Whatever is wrong with the folders of former runs, this one's outcome is told.
    if let Err(error) = dir.publish() {
        eprintln!("warning: {error:#}");
    }
    let code = exit::NOTHING_RAN;
    for asked in &report.nothing_ran {
        println!("NOTHING RAN  {asked}: no such test ran, exit {code}");
    }
    if report.tests.is_empty() && report.nothing_ran.is_empty() {
        println!("NOTHING RAN  no test matches what was asked for, exit {code}");
    }
    github::tell(report, &dir.shown())?;
    println!("report  {}/report.html", dir.shown());
    let line = report::closing_line(&report.totals, report.exit_code, report.seconds);
    println!("\n{line}");
    Ok(())
}
