//! Clusters: from a spec, by a list of steps, to a handle.
