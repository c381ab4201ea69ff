//! The exit codes of a run of tests and of the program `kubenest`: a promise to scripts.

/// Everything requested passed.
pub const OK: u8 = 0;
/// A check of the repository failed.
pub const CHECK_FAILED: u8 = 1;
/// The command line or the workspace is wrong.
pub const USAGE: u8 = 2;
/// No test ran, or none matches the requested name or side.
pub const NOTHING_RAN: u8 = 4;
/// A test failed: its assertion does not hold.
pub const TEST_FAILED: u8 = 100;
/// The set-up failed; nothing is known about the behaviour under test.
pub const SETUP_FAILED: u8 = 105;
/// The run was interrupted; the code is the one that a shell gives for Ctrl-C.
pub const INTERRUPTED: u8 = 130;
