//! Which versions are known to work together, and which are known not to.
