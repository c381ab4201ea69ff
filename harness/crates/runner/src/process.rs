//! The one place that starts programs: each in a process group of its own, registered in `groups`.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use crate::groups::{self, Groups};
use crate::signals;

/// How long a program may take to clean up after an interrupt.
const CLEAN_UP: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

/// A running program, with every process that it started.
pub(crate) struct Running {
    pub(crate) child: Child,
    group: i32,
}

/// How a program ended.
pub(crate) struct ProgramEnd {
    pub(crate) status: ExitStatus,
    /// Whether the program was stopped because its time was up.
    pub(crate) timed_out: bool,
}

/// A command for `program` whose standard input is empty.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place programs are started from"
)]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// The cargo that runs this program, or else the one on the path.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo names itself to what it runs"
)]
pub fn cargo() -> Command {
    let mut command = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Variables with which cargo describes this program must not reach another build: build scripts
    // that watch them (ring's) would run again each time the runner and a plain cargo take turns.
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| describes_package(name)) {
        command.env_remove(name);
    }
    command
}

fn describes_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

/// Runs a command to its end; the command writes to this program's own output.
///
/// # Errors
/// The command cannot be started, or this program was interrupted.
pub fn run(command: &mut Command) -> anyhow::Result<ExitStatus> {
    Ok(Running::start(command)?.wait(None, || {})?.status)
}

/// Like [`run`], but returns what the command wrote to its standard output.
///
/// # Errors
/// As [`run`], or the command fails.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let what = command_line(command);
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let mut pipe = running
        .child
        .stdout
        .take()
        .context("stdout must be piped")?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut pipe, &mut text)
        .with_context(|| format!("read the output of `{what}`"))?;
    let status = running.wait(None, || {})?.status;
    if !status.success() {
        bail!("`{what}` ended with {status}");
    }
    Ok(text)
}

impl Running {
    /// Starts the command in a process group of its own, unless this program was interrupted.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        // The lock is held during the start, so that a signal either finds the group registered or
        // prevents the start.
        let mut groups = groups::running();
        if signals::received().is_some() {
            bail!("interrupted");
        }
        Self::register(&mut groups, command)
    }

    /// Starts a command that cleans up, which is allowed after an interrupt too.
    pub(crate) fn start_anyway(command: &mut Command) -> anyhow::Result<Self> {
        Self::register(&mut groups::running(), command)
    }

    fn register(groups: &mut Groups, command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("start `{}`", command_line(command)))?;
        let group = i32::try_from(child.id()).context("a process id fits an i32")?;
        groups.insert(group);
        Ok(Self { child, group })
    }

    /// Waits for the end and calls `tick` regularly. The whole group is killed past `limit`, and
    /// after an interrupt once the time to clean up has passed.
    pub(crate) fn wait(
        self,
        limit: Option<Duration>,
        mut tick: impl FnMut(),
    ) -> anyhow::Result<ProgramEnd> {
        self.wait_counting(limit, || {
            tick();
            Duration::ZERO
        })
    }

    /// As [`wait`](Self::wait), but `tick` returns how much of the time so far does not count.
    pub(crate) fn wait_counting(
        self,
        limit: Option<Duration>,
        mut tick: impl FnMut() -> Duration,
    ) -> anyhow::Result<ProgramEnd> {
        let Self { mut child, group } = self;
        let started = Instant::now();
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait()));
        let mut timed_out = false;
        let mut asked_to_end: Option<Instant> = None;
        let status = loop {
            let uncounted = match ended.recv_timeout(TICK) {
                Ok(status) => break status.context("wait for a child process")?,
                Err(RecvTimeoutError::Timeout) => tick(),
                Err(RecvTimeoutError::Disconnected) => bail!("the waiting thread must not panic"),
            };
            let counted = started.elapsed().saturating_sub(uncounted);
            if signals::received().is_some() && asked_to_end.is_none() {
                asked_to_end = Some(Instant::now());
            } else if limit.is_some_and(|limit| counted > limit) && asked_to_end.is_none() {
                timed_out = true;
                asked_to_end = Some(Instant::now());
                groups::send(group, groups::request_to_end());
            }
            if asked_to_end.is_some_and(|at| at.elapsed() > CLEAN_UP) {
                groups::send(group, Signal::SIGKILL);
            }
        };
        groups::running().remove(&group);
        if !status.success() {
            // Processes that a crashed program started must not outlive it.
            groups::send(group, Signal::SIGKILL);
        }
        Ok(ProgramEnd { status, timed_out })
    }
}

/// The command as a user would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// `<pid>-<start ticks>` of this process, by which its children see whether it still lives.
///
/// None where there is no `/proc`.
pub(crate) fn own_identity() -> Option<String> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = start_ticks(&stat)?;
    Some(format!("{}-{ticks}", std::process::id()))
}

/// Field 22 of `/proc/<pid>/stat`. The fields are counted from the end of the name, which may
/// contain spaces and brackets.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_ticks_survive_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(start_ticks(stat), Some(4242));
        assert_eq!(start_ticks("nonsense"), None);
    }

    #[test]
    fn what_does_not_count_is_no_part_of_a_limit() {
        let limit = Duration::from_millis(1);
        let ended = |uncounted| {
            let mut command = command("sleep");
            let running = Running::start(command.arg("1")).unwrap();
            running.wait_counting(Some(limit), || uncounted).unwrap()
        };
        assert!(!ended(Duration::from_secs(60)).timed_out);
        assert!(ended(Duration::ZERO).timed_out);
    }

    #[test]
    fn a_program_past_its_limit_is_stopped_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("grandchild");
        let script = format!("sleep 300 & echo $! > {}; wait", mark.display());
        let mut command = command("bash");
        command.args(["-c", &script]);
        let running = Running::start(&mut command).unwrap();
        let until = |what: &str, done: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while !done() {
                assert!(Instant::now() < deadline, "waited 60 s for {what}");
                std::thread::yield_now();
            }
        };
        let pid = || -> Option<i32> { std::fs::read_to_string(&mark).ok()?.trim().parse().ok() };
        until("the grandchild", &|| pid().is_some());
        let ended = running
            .wait(Some(Duration::from_millis(300)), || {})
            .unwrap();
        assert!(ended.timed_out);
        assert!(!ended.status.success());
        let pid = pid().unwrap();
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        until("the grandchild's end", &|| !alive());
    }
}
