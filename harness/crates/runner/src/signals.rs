//! Ctrl-C and SIGTERM: children are asked to clean up, then told to end.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::groups;

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

/// What a shell expects of a program ended by a signal.
pub fn exit_code() -> Option<u8> {
    received().and_then(|signal| u8::try_from(128 + signal).ok())
}
