//! Makes what nodes run on and what they are made from: components, node images, Docker engines.

pub mod component;
#[cfg(feature = "build")]
pub mod debian;
mod durations;
pub mod engine;
pub mod image;
pub mod lockfile;
mod machine;
pub mod making;
pub mod names;
pub mod package;
pub mod prepare;
