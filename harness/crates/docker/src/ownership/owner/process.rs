//! A process that owns resources, and whether it still runs.

use std::{fmt, fs, path::Path, str::FromStr, sync::OnceLock};

use super::Liveness;
use kubenest_base::liveness::Process;

/// A process, named so that it cannot be confused with a later process of the same number.
///
/// The text form is `<host name>/<boot>-<pid namespace>/<pid>-<start ticks>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessId {
    host: String,
    boot: String,
    pid: u32,
    start: u64,
}

impl ProcessId {
    /// This process.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<ProcessId> = OnceLock::new();
        CURRENT.get_or_init(|| {
            let pid = std::process::id();
            let (host, boot) = this_boot(Path::new("/proc"));
            let start = match Process::of(pid) {
                Process::Since(start) => start,
                Process::Gone | Process::Hidden => 0,
            };
            Self {
                host,
                boot,
                pid,
                start,
            }
        })
    }

    /// Its process id, on its own machine.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the process still runs, if this process can tell.
    pub fn liveness(&self) -> Liveness {
        self.seen_from(Self::current(), Process::of)
    }

    fn seen_from(&self, viewer: &Self, look: impl FnOnce(u32) -> Process) -> Liveness {
        if self == viewer {
            return Liveness::Alive;
        }
        if (&self.host, &self.boot) != (&viewer.host, &viewer.boot) || !viewer.knows_its_place() {
            return Liveness::Unknown;
        }
        match look(self.pid) {
            Process::Since(start) if start == self.start => Liveness::Alive,
            Process::Hidden => Liveness::Unknown,
            // The start ticks are zero only where there is no /proc to read.
            _ if self.start == 0 => Liveness::Unknown,
            Process::Since(_) | Process::Gone => Liveness::Dead,
        }
    }

    /// Whether the place of the process is fully known. Where /proc lacks a part of it, processes
    /// of two machines could seem to be on one.
    fn knows_its_place(&self) -> bool {
        !self.host.is_empty() && !self.boot.starts_with('-') && !self.boot.ends_with('-')
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}-{}", self.host, self.boot, self.pid, self.start)
    }
}

impl FromStr for ProcessId {
    type Err = ();

    /// Accepts exactly what [`Display`](fmt::Display) writes, because anybody can write a label.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let (Some(host), Some(boot), Some(process), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let (pid, start) = process.split_once('-').ok_or(())?;
        let owner = Self {
            host: host.to_owned(),
            boot: boot.to_owned(),
            pid: pid.parse().map_err(drop)?,
            start: start.parse().map_err(drop)?,
        };
        if owner.to_string() == text {
            Ok(owner)
        } else {
            Err(())
        }
    }
}

/// Host name, and boot with process namespace. A process number is unique only within these.
pub(super) fn this_boot(proc: &Path) -> (String, String) {
    let read = |path: &str| {
        let text = fs::read_to_string(proc.join(path)).unwrap_or_default();
        text.trim().to_owned()
    };
    let host = read("sys/kernel/hostname").replace('/', "-");
    let boot: String = read("sys/kernel/random/boot_id").chars().take(8).collect();
    let namespace = fs::read_link(proc.join("self/ns/pid")).unwrap_or_default();
    let namespace: String = namespace
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    (host, format!("{boot}-{namespace}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above the kernel's highest.
    const NO_PID: u32 = 4_194_305;

    #[test]
    fn a_process_survives_the_way_through_a_label() {
        let owner = ProcessId::current();
        assert_eq!(owner.to_string().parse::<ProcessId>().as_ref(), Ok(owner));
        assert_eq!(owner.liveness(), Liveness::Alive);
    }

    #[test]
    fn a_reused_process_number_is_another_owner() {
        let mut owner = ProcessId::current().clone();
        owner.start += 1;
        assert_eq!(owner.liveness(), Liveness::Dead);
    }

    #[test]
    fn nothing_is_said_about_other_hosts_and_boots() {
        for text in ["elsewhere/0a1b2c3d-1/1-1", "elsewhere/-/7-0"] {
            assert_eq!(
                text.parse::<ProcessId>().unwrap().liveness(),
                Liveness::Unknown
            );
        }
        let mut owner = ProcessId::current().clone();
        owner.boot = "00000000-1".into();
        assert_eq!(owner.liveness(), Liveness::Unknown);
    }

    #[test]
    fn nothing_is_said_about_a_process_that_is_hidden() {
        let mut owner = ProcessId::current().clone();
        owner.pid += 1;
        let seen = owner.seen_from(ProcessId::current(), |_| Process::Hidden);
        assert_eq!(seen, Liveness::Unknown);
    }

    #[test]
    fn nothing_is_said_where_proc_does_not_tell_which_machine_this_is() {
        let empty = tempfile::tempdir().unwrap();
        let (host, boot) = this_boot(empty.path());
        let viewer = ProcessId {
            host,
            boot,
            pid: 1,
            start: 7,
        };
        // A process of another machine, of which as little is known.
        let owner = ProcessId {
            pid: NO_PID,
            ..viewer.clone()
        };
        let seen = owner.seen_from(&viewer, |_| Process::Gone);
        assert_eq!(seen, Liveness::Unknown);
    }

    #[test]
    fn foreign_text_is_no_owner() {
        for text in [
            "",
            "a",
            "a/b/c",
            "a/b/1-2/",
            "a/b/+1-2",
            "a/b/01-2",
            "a/b/1-2-3",
        ] {
            assert!(text.parse::<ProcessId>().is_err(), "{text}");
        }
    }
}
