//! Runs tests on real clusters: builds them, runs each in a process of its own, judges how it ended
//! and writes the reports.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the library of command line programs: a run talks to its user"
)]

mod args;
mod bundle;
mod by_node;
pub mod compile;
mod condition;
mod failure;
mod github;
mod groups;
mod html;
mod junit;
mod left_out;
mod log;
mod making;
mod needs;
mod nodes;
mod out;
mod outcome;
mod package;
mod place;
mod plan;
mod prepare;
mod preparing_view;
pub mod process;
mod program;
mod progress;
mod project;
mod record;
mod report;
mod request;
mod run;
mod run_dir;
mod runner;
#[cfg(test)]
mod sample;
mod saved;
pub mod signals;
mod slots;
mod stay;
mod test_report;
mod totals;
mod unprepared;
mod verdict;

pub use args::{RunArgs, parse_duration};
pub use kubenest_protocol::exit;
pub use needs::Needs;
pub use package::{Package, Side};
pub use plan::{Chosen, Selection, Test};
pub use preparing_view::PreparingView;
pub use project::Project;
pub use request::{Front, Kubenest, Request};
pub use run::{report, run};
