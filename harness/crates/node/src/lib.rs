//! A running node with its services, its runtime and its files; and objects of the Kubernetes API.

pub mod node;
pub mod objects;
