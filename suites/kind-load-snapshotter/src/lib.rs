//! Helpers of the kind-load-snapshotter suite.
