//! The one door to Docker: everything goes through bollard, nothing else names it.

pub mod discover;
mod guard;
pub mod labels;
mod sweep;
