//! The one door to Docker: everything goes through bollard, nothing else names it.

mod discover;
mod guard;
mod labels;
mod sweep;
