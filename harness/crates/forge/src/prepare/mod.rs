//! Makes what tests need before they run: components, programs, node images, engines.
//!
//! A [`Need`] is what a test declares or asked for. The needs of all tests are turned into pieces,
//! each of which is made once. The schedule decides their order, and how many are made at a time.

mod memory;
mod need;
mod nodes;
mod pieces;
mod schedule;
mod work;

pub use self::{
    memory::remember,
    need::{Need, list},
    nodes::{nodes, remembered},
    work::{Ended, Preparation},
};
