//! The embedded engine: a Docker engine in the cache, for machines that have none.
