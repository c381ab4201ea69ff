//! Handles Ctrl-C and SIGTERM: the first asks the children to clean up, the second kills them.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::groups;

static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// From the call on, signals go to the children and do not end this process.
///
/// The first signal is passed on as an interrupt, so that a test can remove what it made. The
/// second signal kills the children.
///
/// # Errors
/// The system does not accept the handler.
pub fn install() -> anyhow::Result<()> {
    // A signal that this program was started to ignore, as by `nohup`, stays ignored.
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let heeded = heeded.filter(|signal| !groups::is_ignored(*signal));
    let mut signals = Signals::new(heeded).context("watch for signals")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let first = RECEIVED
                .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
            if first {
                eprintln!("\ninterrupted; waiting for the clean-up (once more to stop at once)");
                groups::interrupt_all();
            } else {
                groups::kill_all();
            }
        }
    });
    Ok(())
}

/// The signal that ends this run, if one came.
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// The exit code that a shell expects from a program that a signal ended.
pub fn exit_code() -> Option<u8> {
    received().and_then(|signal| u8::try_from(128 + signal).ok())
}
