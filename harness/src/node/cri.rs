//! CRI calls to a node's own runtime.
