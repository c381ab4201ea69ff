//! The process groups of the running programs, through which all of them are asked to end.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The numbers of process groups.
pub(crate) type Groups = BTreeSet<i32>;

static GROUPS: Mutex<Groups> = Mutex::new(Groups::new());

/// The groups that run now.
pub(crate) fn running() -> MutexGuard<'static, Groups> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks every running program to clean up and end.
pub(crate) fn interrupt_all() {
    let signal = request_to_end();
    running().iter().for_each(|group| send(*group, signal));
}

/// Ends every running program at once.
pub(crate) fn kill_all() {
    running()
        .iter()
        .for_each(|group| send(*group, Signal::SIGKILL));
}

/// The signal that asks a program to clean up and end: an interrupt, or another signal if this
/// process ignores interrupts. A shell starts background jobs with interrupts ignored, and children
/// inherit that.
pub(crate) fn request_to_end() -> Signal {
    if is_ignored(signal_hook::consts::SIGINT) {
        Signal::SIGTERM
    } else {
        Signal::SIGINT
    }
}

pub(crate) fn send(group: i32, signal: Signal) {
    // The group may have ended in between; then nobody is left to receive the signal.
    let _ = killpg(Pid::from_raw(group), signal);
}

/// Whether this program was started with a signal ignored, as `nohup` does. Its children ignore
/// that signal as well.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in(&status, signal)
}

/// Whether a signal is in the set `SigIgn` of `/proc/<pid>/status`.
fn is_in(status: &str, signal: i32) -> bool {
    let mut lines = status.lines();
    let set = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    use super::*;

    #[test]
    fn what_was_ignored_from_the_start_is_known() {
        let status = "SigBlk:\t0\nSigIgn:\t0000000000000003\nSigCgt:\t0\n";
        let ignored = [SIGHUP, SIGINT, SIGTERM].map(|signal| is_in(status, signal));
        assert_eq!(ignored, [true, true, false]);
        assert!(!is_in("", SIGHUP));
    }
}
