//! The one way to start a program: an argument list, never a shell.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::io::AsyncWriteExt;

use crate::{Context, Error, Result, wait};

/// How long a program may run unless the caller says otherwise; builds take the longest.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How long it may take to start a detached program.
const START: Duration = Duration::from_secs(60);

/// A program to run to its end.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
}

/// Closes all inherited files but the standard ones, then becomes the program in its arguments.
const CLOSE_INHERITED: &str = include_str!("alone.sh");

/// The result of a program that has ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output, as UTF-8 with replacement.
    pub stdout: String,
    /// What it wrote to standard error, as UTF-8 with replacement.
    pub stderr: String,
}

impl Command {
    /// A program by name, looked up in `PATH`, or by path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            stdin: None,
            deadline: LONGEST,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable for the program.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs in this folder.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Feeds these bytes to standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Sets how long the program may run; an hour otherwise.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the program and returns its output, whatever its exit code. It is killed when it does
    /// not end in time or the future is dropped.
    ///
    /// # Errors
    /// The program cannot be started, or does not end in time.
    pub async fn output(&self) -> Result<Output> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that starts programs"
        )]
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn().map_err(|cause| {
            Error::setup(format!("cannot start '{}'", self.program.to_string_lossy()))
                .because(cause)
        })?;
        let pipe = child.stdin.take();
        let bytes = self.stdin.clone();
        let feed = async move {
            if let (Some(mut pipe), Some(bytes)) = (pipe, bytes) {
                // A broken pipe is no error here: if the program minds, its exit code says so.
                pipe.write_all(&bytes).await.ok();
            }
        };
        let outcome = async { Ok(tokio::join!(feed, child.wait_with_output()).1) };
        let output = wait::within(&format!("`{self}` to end"), self.deadline, outcome).await?;
        let output = output.with_context(|| format!("wait for `{self}`"))?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs the program and demands success.
    ///
    /// # Errors
    /// It cannot be started, or fails: the error has the command as pasteable shell, its
    /// exit status and the last lines it wrote.
    pub async fn run(&self) -> Result<Output> {
        let output = self.output().await?;
        if output.status.success() {
            return Ok(output);
        }
        Err(Error::setup(format!(
            "`{self}` ended with {}: {}",
            output.status,
            last_lines(&format!("{}{}", output.stdout, output.stderr), 15)
        )))
    }

    /// Starts the program in a session of its own, so that it outlives this process and gets no
    /// Ctrl-C; its output is appended to `log`. It does not inherit open files: one may be a lock
    /// (`flock FILE cargo test`), or a pipe whose reader waits for its end.
    ///
    /// # Errors
    /// The log cannot be opened, or `setsid` (util-linux) cannot be started. Without bash the
    /// log says so.
    pub async fn detach(&self, log: &Path) -> Result<()> {
        let open = || format!("open log '{}'", log.display());
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(open)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that starts programs"
        )]
        let mut command = tokio::process::Command::new("setsid");
        command
            .args(["--fork", "bash", "-c", CLOSE_INHERITED, "kubenest"])
            .arg(&self.program)
            .args(&self.args)
            .envs(self.env.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(open)?)
            .stderr(log);
        command.current_dir(self.dir.as_deref().unwrap_or(Path::new("/")));
        let started = async { command.status().await.context("setsid") };
        let status = wait::within("it to start", START, started)
            .await
            .with_context(|| format!("start `{self}`"))?;
        if !status.success() {
            return Err(Error::setup(format!(
                "`setsid --fork {self}` ended with {status}"
            )));
        }
        Ok(())
    }
}

/// The command as a line that can be pasted into a shell.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(dir) = &self.dir {
            write!(f, "cd {} && ", quote(&dir.to_string_lossy()))?;
        }
        for (name, value) in &self.env {
            write!(
                f,
                "{}={} ",
                name.to_string_lossy(),
                quote(&value.to_string_lossy())
            )?;
        }
        f.write_str(&quote(&self.program.to_string_lossy()))?;
        for arg in &self.args {
            write!(f, " {}", quote(&arg.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// Whether this process was started with this signal ignored, as by `nohup`. A handler would undo
/// that, so none must be installed. `signal` is the kernel's number.
#[must_use]
pub fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored(&status, signal)
}

/// As [`ignores`], from the text of `/proc/<pid>/status`.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    ignored.is_some_and(|set| (1..=64).contains(&signal) && set >> (signal - 1) & 1 == 1)
}

/// Quotes a word for a POSIX shell. Only for display: nothing here runs a shell.
pub fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last `count` lines of a text that are not empty.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;
    use crate::wait::{self, Probe};

    #[tokio::test]
    async fn a_failure_shows_command_status_and_last_lines() {
        let error = Command::new("sh")
            .args(["-c", "echo broken pipe >&2; exit 3"])
            .run()
            .await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "`sh -c 'echo broken pipe >&2; exit 3'` ended with exit status: 3: broken pipe"
        );
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed() {
        let endless = Command::new("sleep")
            .arg("600")
            .within(Duration::from_millis(50));
        let error = endless.run().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "waited 0.1 s for `sleep 600` to end; last seen: no end of it"
        );
    }

    #[tokio::test]
    async fn standard_input_is_fed_and_closed() {
        let output = Command::new("cat")
            .stdin_bytes("hello")
            .run()
            .await
            .unwrap();
        assert_eq!(output.stdout, "hello");
    }

    #[test]
    fn ignored_signals_are_read_from_proc() {
        // As under `nohup`: SIGHUP is the first bit, SIGINT would be the second.
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t0\n";
        let ignored = |signals: [i32; 4]| signals.map(|signal| is_ignored(status, signal));
        assert_eq!(ignored([1, 2, 0, 65]), [true, false, false, false]);
        assert!(is_ignored("SigIgn:\t8000000000000002\n", 64));
        assert!(!is_ignored("", 1));
    }

    #[tokio::test]
    async fn a_program_started_by_nohup_ignores_a_hangup() {
        let look = ["-c", "grep SigIgn /proc/self/status"];
        let told = Command::new("nohup").arg("sh").args(look).run().await;
        assert!(is_ignored(&told.unwrap().stdout, 1));
    }

    #[tokio::test]
    async fn a_detached_program_inherits_no_open_file() {
        let folder = tempfile::tempdir().unwrap();
        let [lock, log] = ["lock", "log"].map(|name| folder.path().join(name));
        let inherited = File::create(&lock).unwrap();
        fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let look = "for open in /proc/$$/fd/*; do readlink \"$open\"; done; echo all";
        let program = Command::new("sh").args(["-c", look]);
        program.detach(&log).await.unwrap();
        let said = wait::until("its word", Duration::from_secs(60), async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            Probe::from_option(said.contains("\nall\n").then_some(said.clone()), || said)
        });
        let said = said.await.unwrap();
        assert!(!said.contains(lock.to_str().unwrap()), "{said}");
        assert!(said.contains(log.to_str().unwrap()), "{said}");
    }

    #[test]
    fn words_are_quoted_for_pasting() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("--image=x:1@sha256"), "--image=x:1@sha256");
    }
}
