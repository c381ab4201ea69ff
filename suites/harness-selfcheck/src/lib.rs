//! The harness tested on the real stack; see `tests/`.
