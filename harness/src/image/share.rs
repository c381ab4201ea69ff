//! Node images shared through a registry.
