//! Removes what dead owners left.
