//! The files that a test process leaves for its runner, in types that both sides share.
//!
//! An exit code only says passed or failed. The [`VerdictFile`]s also tell a broken set-up from a
//! failed assertion and carry the data of reports; the [`Index`] of an evidence bundle lists the
//! causes recognised in it.

pub mod exit;
mod index;
mod phase;
mod verdict;

pub use index::{Cause, Index, SCHEMA};
pub use phase::Phase;
pub use verdict::{Verdict, VerdictFile};
