//! What a node image is made of, and which versions are known not to work together.

pub mod compat;
pub mod recipe;
