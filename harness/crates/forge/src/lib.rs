//! Makes what nodes run on and are made of: components, node images, Docker engines.

pub mod component;
pub mod debian;
pub mod engine;
pub mod image;
