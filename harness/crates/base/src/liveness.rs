//! Whether the process of a number runs, and since when.

use std::{fs, io};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// What can be seen of the process of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It runs, and started so many clock ticks after the machine.
    Since(u64),
    /// There is none, or one that has ended and waits for its parent to notice.
    Gone,
    /// There is one, and this process may not look at it: /proc can hide other users'.
    Hidden,
}

impl Process {
    /// What can be seen of this process number now.
    pub fn of(pid: u32) -> Self {
        Self::read(fs::read_to_string(format!("/proc/{pid}/stat")), pid)
    }

    fn read(stat: io::Result<String>, pid: u32) -> Self {
        if let Ok(seen) = stat.map(|text| Self::parse(&text))
            && let Some(seen) = seen
        {
            return seen;
        }
        // To /proc a hidden process and none at all can be the same. A signal that is none is
        // delivered nowhere, but refused for another reason.
        let number = i32::try_from(pid).ok().filter(|pid| *pid > 0);
        match number.map(|pid| kill(Pid::from_raw(pid), None)) {
            None | Some(Err(Errno::ESRCH)) => Self::Gone,
            Some(_) => Self::Hidden,
        }
    }

    /// Reads `/proc/<pid>/stat`.
    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may hold spaces and parentheses; fields count from its end.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        // A zombie holds nothing any more: its parent just has not looked yet.
        if matches!(fields.first(), Some(&"Z" | &"X")) {
            return Some(Self::Gone);
        }
        Some(Self::Since(fields.get(19)?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above the kernel's highest.
    const NO_PID: u32 = 4_194_305;

    fn refused() -> io::Result<String> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    #[test]
    fn a_process_that_proc_hides_is_not_gone() {
        let own = std::process::id();
        for stat in [
            refused(),
            Err(io::ErrorKind::NotFound.into()),
            Ok("".into()),
        ] {
            assert_eq!(Process::read(stat, own), Process::Hidden);
        }
    }

    #[test]
    fn what_no_signal_would_reach_is_gone_however_proc_answers() {
        for stat in [refused(), Err(io::ErrorKind::NotFound.into())] {
            assert_eq!(Process::read(stat, NO_PID), Process::Gone);
        }
        // To kill they name groups of processes.
        for pid in [0, u32::MAX] {
            assert_eq!(Process::read(refused(), pid), Process::Gone);
        }
    }

    #[test]
    fn a_name_with_brackets_and_a_zombie_are_read() {
        let stat =
            |state| format!("7 (a) b) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 42");
        assert_eq!(Process::parse(&stat('S')), Some(Process::Since(42)));
        assert_eq!(Process::parse(&stat('Z')), Some(Process::Gone));
        assert_eq!(Process::parse("nonsense"), None);
    }
}
