//! The health gate: typed checks between boot and the first test.
