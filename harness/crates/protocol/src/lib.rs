//! What a test process leaves for whoever runs it, as both sides know it.
//!
//! A process can only end well or not. The [`VerdictFile`]s it leaves tell a broken set-up from a
//! failed assertion and carry what a report shows; the [`Index`] of a bundle of evidence says what
//! was recognised in it.

pub mod exit;
mod index;
mod phase;
mod verdict;

pub use index::{Cause, Index, SCHEMA};
pub use phase::Phase;
pub use verdict::{Verdict, VerdictFile};
