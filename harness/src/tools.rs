//! Tools by exact version: the kind CLI.
