//! Makes what nodes run on and are made of: components, node images, Docker engines.

pub mod component;
#[cfg(feature = "build")]
pub mod debian;
pub mod engine;
pub mod image;
pub mod lockfile;
pub mod package;
