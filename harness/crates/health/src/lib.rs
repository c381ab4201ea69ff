//! Proves that nodes are healthy before a test, and examines the machine.

pub mod doctor;
pub mod health;
pub mod layer;
