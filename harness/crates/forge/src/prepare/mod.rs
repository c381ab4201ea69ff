//! Makes what tests need before they run: components, programs, node images, engines.
//!
//! A [`Need`] is what a test declares or asked for. Those of all tests come to pieces, each made
//! once; the schedule says in which order, and how many at a time.

mod memory;
mod need;
mod pieces;
mod schedule;
mod work;

pub use self::{
    memory::remember,
    need::{Need, list},
    work::{Ended, Preparation},
};
