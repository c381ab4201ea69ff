//! The request that a command line makes to the runner.

use std::path::PathBuf;

use crate::plan::{Selection, Test};

/// Which tests to run, and how to build them.
pub struct Request {
    /// The root of the sources, to which source paths are relative.
    pub root: PathBuf,
    /// The folder in which cargo runs.
    pub folder: PathBuf,
    /// The folder in which each run gets a folder of its own.
    pub results: PathBuf,
    /// Cargo's arguments that build the tests.
    pub build: Vec<String>,
    /// The program that cleans up after tests.
    pub kubenest: Kubenest,
    /// The tests.
    pub selection: Selection,
    /// Whether manifests have to declare all that their tests need, with a warning for each need
    /// that is missing.
    pub declares_all: bool,
    /// The command line that makes the request.
    pub front: Front,
    /// Whether to print the report as JSON on standard output, and all else on standard error.
    pub json: bool,
}

/// Where the program `kubenest` is.
pub enum Kubenest {
    /// Among the programs that are built with the tests.
    Built,
    /// At this path.
    At(PathBuf),
}

/// The commands that advice to the user shows.
pub struct Front {
    /// The command that runs a test again and leaves its clusters up.
    pub again: Box<dyn Fn(&Test) -> String + Send + Sync>,
    /// The command that removes what tests left behind.
    pub clean: &'static str,
}
