//! Node images, made of a recipe's components.

mod resolve;
mod share;
