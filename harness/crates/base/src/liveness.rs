//! Whether the process with a given id runs, and when it started.

use std::{fs, io};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// The state of the process with one id, as far as this process can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It runs; it started this many clock ticks after the machine booted.
    Since(u64),
    /// There is none, or only a zombie that its parent has not reaped.
    Gone,
    /// It exists, but /proc hides it: `hidepid` hides the processes of other users.
    Hidden,
}

impl Process {
    /// The state of the process with this id now.
    pub fn of(pid: u32) -> Self {
        Self::read(fs::read_to_string(format!("/proc/{pid}/stat")), pid)
    }

    fn read(stat: io::Result<String>, pid: u32) -> Self {
        if let Ok(seen) = stat.map(|text| Self::parse(&text))
            && let Some(seen) = seen
        {
            return seen;
        }
        // In /proc a hidden process can look like an absent one. Signal 0 is never delivered, but
        // its error tells the two apart.
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
        // A zombie has released everything; only its parent has not reaped it yet.
        if matches!(fields.first(), Some(&"Z" | &"X")) {
            return Some(Self::Gone);
        }
        Some(Self::Since(fields.get(19)?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above the highest process id of the kernel.
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
    fn a_process_that_no_signal_reaches_is_gone_whatever_proc_says() {
        for stat in [refused(), Err(io::ErrorKind::NotFound.into())] {
            assert_eq!(Process::read(stat, NO_PID), Process::Gone);
        }
        // `kill` reads these as process groups.
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
