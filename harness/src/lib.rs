//! Real Kubernetes nodes for `cargo test`.

pub mod case;
pub mod cluster;
pub mod compat;
pub mod component;
mod debian;
pub mod docker;
pub mod doctor;
pub mod engine;
mod error;
pub mod health;
pub mod image;
pub mod lock;
pub mod node;
pub mod objects;
mod parent;
pub mod process;
pub mod recipe;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod tools;
mod verdict;
pub mod wait;

pub use case::Case;
pub use cluster::{Cluster, ClusterSpec, NodeSpec};
pub use error::{Context, Error, ErrorKind, Result};
pub use k8s_openapi;
pub use kube;
