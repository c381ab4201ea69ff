//! What a run says, on standard output; where that is for a report in JSON, on standard error.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static IS_FOR_JSON: AtomicBool = AtomicBool::new(false);

/// From now on standard output is for a report in JSON alone.
pub(crate) fn keep_for_json() {
    IS_FOR_JSON.store(true, Relaxed);
}

/// Prints lines for people, and commands for the machine that runs this.
pub(crate) fn say(text: &str) {
    if IS_FOR_JSON.load(Relaxed) {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}
