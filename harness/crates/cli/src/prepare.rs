//! `kubenest prepare`: makes what tests need before they run.

use std::{cell::RefCell, fs, future::Future, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use kubenest::{ErrorKind, Result};
use kubenest_base::{Context, signals, store::Store};
use kubenest_evidence::redact::Redactor;
use kubenest_forge::prepare::{self, Ended, Preparation};
use kubenest_protocol::preparing::{DEFAULT, Event, Plan, TestNeeds};
use kubenest_runner::{PreparingView, exit};
use serde::de::DeserializeOwned;

/// How often the view is updated.
const TICK: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Prepare {
    /// What to make: names as `--list` has them [default: the node of specs that name none]
    #[arg(value_name = "NEED")]
    needs: Vec<String>,
    /// Show what can be made
    #[arg(long)]
    list: bool,
    /// Make nothing; show what is not there, and about how long its making takes
    #[arg(long, conflicts_with = "list")]
    dry_run: bool,
    /// Print what happens as JSON, an event a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Make what the tests in this file need, as a runner of tests wrote it
    #[arg(
        long = "for",
        value_name = "FILE",
        hide = true,
        conflicts_with = "needs"
    )]
    tests: Option<PathBuf>,
    /// Tell what is remembered of tests, as JSON
    #[arg(long, hide = true, conflicts_with = "needs")]
    recall: bool,
    /// Tell with it what these names of nodes mean
    #[arg(
        long,
        value_name = "NODE",
        value_delimiter = ',',
        hide = true,
        requires = "recall"
    )]
    nodes: Vec<String>,
    /// Remember what tests asked for and how long they took
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "needs")]
    remember: Option<PathBuf>,
}

pub(crate) async fn run(prepare: &Prepare) -> Result<ExitCode> {
    if prepare.list {
        print!("{}", list());
        return Ok(ExitCode::SUCCESS);
    }
    let settings = kubenest::settings();
    if let Some(file) = &prepare.remember {
        prepare::remember(settings, read(file)?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if prepare.recall {
        return Ok(recall(prepare));
    }
    kubenest_base::parent::watch(settings);
    let redactor = Redactor::new(settings.redact.as_deref())?;
    let shown = RefCell::new(Output {
        is_json: prepare.json,
        view: None,
    });
    let preparation = match Preparation::of(settings, &prepare.test_needs()?).await {
        Ok(preparation) => preparation,
        Err(error) if prepare.json => {
            let message = redactor.redact(&error.report());
            let usage = error.kind() == ErrorKind::Input;
            shown.borrow_mut().take(Event::Refused { message, usage });
            return Ok(ExitCode::from(if usage {
                exit::USAGE
            } else {
                exit::SETUP_FAILED
            }));
        }
        Err(error) => return Err(error),
    };
    if prepare.dry_run && !prepare.json {
        print!("{}", missing(preparation.plan()));
        return Ok(ExitCode::SUCCESS);
    }
    shown
        .borrow_mut()
        .take(Event::Plan(preparation.plan().clone()));
    if prepare.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let tell = |mut event| {
        if let Event::Failed { message, .. } = &mut event {
            *message = redactor.redact(message);
        }
        shown.borrow_mut().take(event);
    };
    let ended = run_with_ticks(preparation.make(end_signal(), tell), || {
        shown.borrow_mut().tick()
    });
    let ended = ended.await;
    shown.into_inner().end();
    Ok(ExitCode::from(match ended {
        Ended::AllMade => exit::OK,
        Ended::SomeFailed => exit::SETUP_FAILED,
        Ended::Stopped => {
            // Unfinished entries of the cache are of no use.
            Store::of(settings).prune_unfinished()?;
            exit::INTERRUPTED
        }
    }))
}

/// Prints what is remembered of tests, and the nodes that `--nodes` names.
fn recall(prepare: &Prepare) -> ExitCode {
    let answer = match prepare::nodes(&prepare.nodes) {
        Ok(nodes) => {
            let memory = prepare::remembered(kubenest::settings());
            Event::Recalled { nodes, memory }
        }
        Err(error) => {
            let message = error.report();
            let usage = true;
            Event::Refused { message, usage }
        }
    };
    print_json(&answer);
    // The runner reads the answer, which says whether it is a refusal.
    ExitCode::SUCCESS
}

fn print_json(event: &Event) {
    let line = serde_json::to_string(event);
    println!("{}", line.expect("an event must be plain data"));
}

impl Prepare {
    fn test_needs(&self) -> Result<TestNeeds> {
        if let Some(file) = &self.tests {
            return read(file);
        }
        let needs = match self.needs.as_slice() {
            [] => vec![DEFAULT.to_owned()],
            needs => needs.to_vec(),
        };
        Ok(TestNeeds {
            tests: [(String::new(), needs)].into(),
        })
    }
}

/// Shows the events to the user: as JSON, or in a view.
struct Output {
    is_json: bool,
    /// The view for people; it exists once there is something to make.
    view: Option<PreparingView>,
}

impl Output {
    fn take(&mut self, event: Event) {
        if self.is_json {
            print_json(&event);
            return;
        }
        match (event, &mut self.view) {
            (Event::Plan(plan), _) if plan.pieces.is_empty() => println!("all of it is there"),
            (Event::Plan(plan), view) => *view = Some(PreparingView::begin(&plan)),
            (event, Some(view)) => view.take(&event),
            (_, None) => {}
        }
    }

    fn tick(&mut self) {
        if let Some(view) = &mut self.view {
            view.tick();
        }
    }

    fn end(self) {
        if let Some(view) = self.view {
            view.end();
        }
    }
}

/// Does the work and calls `tick` regularly meanwhile.
async fn run_with_ticks<T>(work: impl Future<Output = T>, mut tick: impl FnMut()) -> T {
    let mut work = Box::pin(work);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => tick(),
        }
    }
}

/// Waits for the first signal that asks this program to end.
async fn end_signal() {
    if signals::wait_for_end().await.is_err() {
        // Without a handler, a signal ends the program in the usual way.
        std::future::pending().await
    }
}

fn read<T: DeserializeOwned>(file: &PathBuf) -> Result<T> {
    let what = || format!("read '{}'", file.display());
    let text = fs::read(file).with_context(what)?;
    serde_json::from_slice(&text).with_context(what)
}

/// What has to be made, a line each, and about how long all of it takes.
fn missing(plan: &Plan) -> String {
    let pieces = plan.pieces.iter();
    let lines = pieces.map(|piece| {
        let (name, how, seconds) = (&piece.name, &piece.how, piece.seconds);
        format!("{seconds:>6.0} s  {name}  ({how})\n")
    });
    let seconds = plan.seconds;
    format!(
        "{}{seconds:>6.0} s  in all, several at a time\n",
        lines.collect::<String>()
    )
}

fn list() -> String {
    let list = prepare::list();
    let width = list.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or_default();
    let lines = list
        .iter()
        .map(|(name, what)| format!("{name:width$}  {what}\n"));
    lines.collect()
}
