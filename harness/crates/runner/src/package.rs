//! A package whose tests are run, as far as the runner has to know it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::needs::Needs;

/// A cargo package with tests.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name in the manifest.
    pub name: String,
    /// The folder of its manifest, in which its tests run.
    pub dir: PathBuf,
    /// The sides of the package; a run needs at least one test of each. Most packages have no
    /// sides, since their tests do not compare two versions.
    pub sides: Vec<Side>,
    /// How long one of its tests may take, without the time that making its needs takes.
    pub limit: Duration,
    /// What its tests need before they run.
    pub needs: Needs,
}

/// Which of two versions a test runs on: the one with the failure, or the one without.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The version with the failure.
    Affected,
    /// The version without the failure.
    Fixed,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Affected => "affected",
            Self::Fixed => "fixed",
        })
    }
}

/// The side as people and files name it; "-" for none.
pub(crate) fn side_name(side: Option<Side>) -> String {
    side.map_or_else(|| "-".to_owned(), |side| side.to_string())
}
