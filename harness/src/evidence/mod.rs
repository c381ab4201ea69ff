//! Evidence: what is kept of a failure, so that it can be understood later.

pub mod page;
