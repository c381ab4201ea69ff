//! A running node: its services, its runtime and its files; and objects of the API.

pub mod node;
pub mod objects;
