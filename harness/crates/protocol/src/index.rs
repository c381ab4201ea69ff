//! The index of an evidence bundle, `index.json`: the part that other programs read.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Version of the format. It is raised when programs that read `index.json` have to change.
pub const SCHEMA: u32 = 1;

/// The summary of a bundle.
#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    /// The recognised causes, root causes first.
    pub diagnosis: Vec<Cause>,
    /// The files beside the page.
    pub files: Vec<IgnoredAny>,
    /// What could not be collected.
    pub missing: Vec<IgnoredAny>,
}

/// A recognised cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The cause in a few words.
    pub title: String,
    /// What happened and why.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
}
