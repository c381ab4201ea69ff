//! The files that a test process leaves for its runner, in types that both sides share.
//!
//! An exit code only says passed or failed. The [`VerdictFile`]s also tell a broken set-up from a
//! failed assertion and carry the data of reports. The [`Index`] of an evidence bundle lists the
//! causes recognised in it. A [`Demand`] says what a test needed, and through a [`SlotFolder`] the
//! test gives up its slot while that is made.

mod demand;
pub mod exit;
mod index;
mod phase;
pub mod preparing;
mod slot;
mod verdict;

pub use demand::Demand;
pub use index::{Cause, Index, SCHEMA};
pub use phase::Phase;
pub use slot::SlotFolder;
pub use verdict::{Verdict, VerdictFile};
