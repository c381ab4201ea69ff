//! Ends this process when its parent is gone.
//!
//! A test runner killed by `kill -9` cannot end its tests, so each test watches the runner. The
//! guard containers then remove the tests' clusters.

use std::{os::fd::OwnedFd, sync::Once, thread};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::liveness::Process;
use crate::settings::Settings;

/// The exit code that shells report for a killed program.
const KILLED: i32 = 137;

/// Starts to watch the process that `KUBENEST_PARENT` names, once; does nothing if it is not set.
pub fn watch(settings: &Settings) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some((pid, start)) = settings.parent.as_deref().and_then(parse) else {
            return;
        };
        thread::spawn(move || {
            if has_ended(pid, start) {
                tracing::warn!("the process that started this test is gone");
                std::process::exit(KILLED);
            }
            tracing::warn!("the process that started this test cannot be watched");
        });
    });
}

fn parse(text: &str) -> Option<(u32, u64)> {
    let (pid, start) = text.split_once('-')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// Waits for the end of the process. Returns false when it lives but cannot be waited for: old
/// kernels and some containers allow no pidfd.
fn has_ended(pid: u32, start: u64) -> bool {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let handle = number.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    wait_for_end(handle, start, || Process::of(pid))
}

fn wait_for_end(handle: Option<OwnedFd>, start: u64, look: impl Fn() -> Process) -> bool {
    // A parent that /proc hides is alive.
    let may_run = || match look() {
        Process::Since(since) => since == start,
        Process::Hidden => true,
        Process::Gone => false,
    };
    let Some(handle) = handle else {
        return !may_run();
    };
    // The kernel may have given the id to another process before the handle was opened.
    while may_run() {
        let mut events = [PollFd::new(&handle, PollFlags::IN)];
        if poll(&mut events, None).is_ok() {
            break;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_seen() {
        #[expect(clippy::disallowed_methods, reason = "a process to outlive")]
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        let Process::Since(start) = Process::of(pid) else {
            panic!("a child must be seen")
        };
        let watch = thread::spawn(move || has_ended(pid, start));
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        assert!(watch.join().unwrap());
    }

    #[test]
    fn a_later_process_with_the_same_id_is_not_waited_for() {
        assert!(has_ended(std::process::id(), 1));
    }

    #[test]
    fn a_parent_that_is_hidden_has_not_ended() {
        assert!(!wait_for_end(None, 1, || Process::Hidden));
        assert!(wait_for_end(None, 1, || Process::Gone));
    }

    #[test]
    fn a_malformed_parent_is_ignored() {
        assert_eq!(parse("12-34"), Some((12, 34)));
        assert_eq!(parse("12"), None);
    }
}
