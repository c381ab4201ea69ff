//! Prints a run's messages: on standard output, or on standard error if the JSON report takes that.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static IS_FOR_JSON: AtomicBool = AtomicBool::new(false);

/// Reserves standard output for the JSON report.
pub(crate) fn keep_for_json() {
    IS_FOR_JSON.store(true, Relaxed);
}

/// Prints lines for people, and commands for GitHub's runner.
pub(crate) fn say(text: &str) {
    if IS_FOR_JSON.load(Relaxed) {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}
