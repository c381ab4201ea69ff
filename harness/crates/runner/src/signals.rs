//! Ctrl-C and SIGTERM: children are asked to clean up, then told to end.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process;

static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// From now on signals go to the children instead of ending this process.
///
/// The first is passed on as an interrupt, which lets a test remove what it made;
/// the second kills the children.
///
/// # Errors
/// The system refuses it.
pub fn install() -> anyhow::Result<()> {
    // One that was to be ignored when this program was started stays so: `nohup` protects.
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let heeded = heeded.filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(heeded).context("watch for signals")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let first = RECEIVED
                .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
            if first {
                eprintln!("\ninterrupted; waiting for the clean-up (once more to stop at once)");
                process::interrupt_all();
            } else {
                process::kill_all();
            }
        }
    });
    Ok(())
}

/// Whether this program was started with a signal ignored, as `nohup` does; its children are, too.
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

/// The signal that ends this run, if one came.
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// What a shell expects of a program ended by a signal.
pub fn exit_code() -> Option<u8> {
    received().and_then(|signal| u8::try_from(128 + signal).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_from_the_start_is_known() {
        let status = "SigBlk:\t0\nSigIgn:\t0000000000000003\nSigCgt:\t0\n";
        let ignored = [SIGHUP, SIGINT, SIGTERM].map(|signal| is_in(status, signal));
        assert_eq!(ignored, [true, true, false]);
        assert!(!is_in("", SIGHUP));
    }
}
