//! What a command line asks the runner for.

use std::path::PathBuf;

use crate::plan::{Selection, Test};

/// Which tests to run, and how they are built.
pub struct Request {
    /// The root of the sources: places in them are told from there.
    pub root: PathBuf,
    /// Where cargo runs.
    pub folder: PathBuf,
    /// Where each run gets a folder of its own.
    pub results: PathBuf,
    /// Cargo's arguments that build the tests.
    pub build: Vec<String>,
    /// The program that cleans up after tests.
    pub kubenest: Kubenest,
    /// The tests.
    pub selection: Selection,
    /// Whether manifests have to declare all that their tests need: what they do not is a warning.
    pub declares_all: bool,
    /// The command line that asks.
    pub front: Front,
    /// Print the report as JSON on standard output, and all else on standard error.
    pub json: bool,
}

/// Where the program `kubenest` is.
pub enum Kubenest {
    /// Built with the tests.
    Built,
    /// There.
    At(PathBuf),
}

/// What people type, for advice.
pub struct Front {
    /// Runs a test again and leaves its clusters up.
    pub again: Box<dyn Fn(&Test) -> String + Send + Sync>,
    /// Removes what tests left behind.
    pub clean: &'static str,
}
