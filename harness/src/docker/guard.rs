//! Cleans up after a process that was killed.
