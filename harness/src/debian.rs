//! Debian packages by version, unpacked, never installed.
