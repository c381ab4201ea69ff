//! Recipes of node images, and the table of versions that are known not to work together.

pub mod compat;
pub mod recipe;
