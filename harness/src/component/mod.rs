//! Components of a node, from their sources into the cache.
