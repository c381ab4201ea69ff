//! The foundation of every crate of kubenest: errors, waiting, processes, files, settings.

pub mod background;
pub mod digest;
mod error;
pub mod file;
pub mod liveness;
pub mod lock;
pub mod machine;
pub mod parent;
pub mod process;
pub mod random;
pub mod reference;
pub mod settings;
pub mod signals;
pub mod store;
pub mod telemetry;
pub mod wait;

pub use error::{Context, Error, ErrorKind, Origin, Result};
