//! A package whose tests are run: what the runner has to know of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::needs::Needs;

/// A package of cargo with tests.
#[derive(Debug, Clone)]
pub struct Package {
    /// As its manifest has it.
    pub name: String,
    /// Where its manifest is; its tests run there.
    pub dir: PathBuf,
    /// The sides that its tests stand on, of each of which at least one has to run. Most
    /// packages have none: their tests say nothing of two versions.
    pub sides: Vec<Side>,
    /// How long one of its tests may take, without what has to be made for it first.
    pub limit: Duration,
    /// What its tests need to be there.
    pub needs: Needs,
}

/// The version a test runs on: the one with the failure, or the one without.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// With the failure.
    Affected,
    /// Without it.
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
