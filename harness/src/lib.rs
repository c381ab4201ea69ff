//! Real Kubernetes nodes for `cargo test`.

mod debian;
pub mod engine;
mod error;
pub mod lock;
pub mod process;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod wait;

pub use error::{Context, Error, ErrorKind, Result};
