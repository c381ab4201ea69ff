//! Finds the engine as Docker's own clients do.
