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
pub(crate) fn install() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("watch for signals")?;
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

/// The signal that ends this run, if one came.
pub(crate) fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// What a shell expects of a program ended by a signal.
pub(crate) fn exit_code() -> Option<u8> {
    received().and_then(|signal| u8::try_from(128 + signal).ok())
}
