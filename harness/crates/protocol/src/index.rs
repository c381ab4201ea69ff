//! The index of a bundle of evidence, `index.json`, as far as others than its writer read it.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Raised when a reader of `index.json` has to change.
pub const SCHEMA: u32 = 1;

/// What a bundle tells in short.
#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    /// The causes that were recognised; the root of others first.
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
