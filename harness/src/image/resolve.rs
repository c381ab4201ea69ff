//! The node image of a spec that names none.
