//! The life of one test.
