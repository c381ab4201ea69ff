//! Host checks: can this machine run nodes at all.
