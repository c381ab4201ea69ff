//! Commands in a running container.

use std::{fmt, pin::Pin, time::Duration};

use bollard::{
    container::LogOutput,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};

use super::{Docker, explain::Explain};
use kubenest_base::{
    Context, Error, Result,
    process::{last_lines, quote},
    wait::{self, Deadline, Probe},
};

/// How long a command may run when the caller sets no deadline.
pub const RUN: Duration = Duration::from_secs(15 * 60);

/// The result of a command in a container.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExecOutput {
    /// Exit status; 126 and 127 mean that it could not be started.
    pub status: i64,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as UTF-8 with replacement.
    pub stderr: String,
}

impl ExecOutput {
    /// The result of a command that ended with `status`.
    pub fn new(status: i64, stdout: impl Into<Vec<u8>>, stderr: impl Into<String>) -> Self {
        Self {
            status,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    /// Standard output, as UTF-8 with replacement.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Turns a status other than 0 into an error with the command and its last lines.
    ///
    /// # Errors
    /// The command failed.
    pub fn demand(self, container: &str, argv: &[impl AsRef<str>]) -> Result<Self> {
        if self.status == 0 {
            return Ok(self);
        }
        Err(Error::setup(format!(
            "`{}` in '{container}' ended with status {}: {}",
            Argv(argv),
            self.status,
            last_lines(&format!("{}{}", self.text(), self.stderr), 20)
        )))
    }
}

/// What a command has written so far.
#[derive(Default)]
struct Transcript {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The last bytes of both streams, in the order in which they arrived.
    tail: Vec<u8>,
}

impl Transcript {
    fn add(&mut self, part: LogOutput) {
        let of_stderr = matches!(part, LogOutput::StdErr { .. });
        let bytes = part.into_bytes();
        let stream = if of_stderr {
            &mut self.stderr
        } else {
            &mut self.stdout
        };
        stream.extend_from_slice(&bytes);
        self.tail.extend_from_slice(&bytes);
        let old = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..old);
    }

    fn last_line(&self) -> String {
        let line = last_lines(&String::from_utf8_lossy(&self.tail), 1);
        if line.is_empty() {
            "no output".into()
        } else {
            line
        }
    }
}

/// How many bytes are kept to find the line that a command wrote last.
const TAIL: usize = 4096;

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

impl Docker {
    /// Runs a command in a container to its end, whatever its exit status. The command reads from
    /// /dev/null when it is given no input or an empty one. It has 15 minutes.
    ///
    /// # Errors
    /// The container does not run, the engine does not answer, or the command does not end in
    /// time: the error has the last line it wrote.
    pub async fn exec(
        &self,
        container: &str,
        argv: &[impl AsRef<str> + Sync],
        stdin: Option<Vec<u8>>,
    ) -> Result<ExecOutput> {
        self.exec_within(container, argv, stdin, RUN).await
    }

    /// As [`exec`](Docker::exec), with a deadline.
    ///
    /// # Errors
    /// As [`exec`](Docker::exec).
    pub async fn exec_within(
        &self,
        container: &str,
        argv: &[impl AsRef<str> + Sync],
        stdin: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<ExecOutput> {
        // The engine can lose the end of an input that ends at once, and the command would then
        // wait for that end. So an empty input is not attached at all.
        let stdin = stdin.filter(|bytes| !bytes.is_empty());
        let stdin = stdin.map(std::io::Cursor::new);
        self.run_to_end(container, argv, stdin, deadline).await
    }

    /// Runs a command in a container to its end, fed from a reader of any length. It has 15
    /// minutes.
    ///
    /// # Errors
    /// As [`exec`](Docker::exec).
    pub async fn exec_reading(
        &self,
        container: &str,
        argv: &[impl AsRef<str> + Sync],
        stdin: Option<impl AsyncRead + Unpin>,
    ) -> Result<ExecOutput> {
        self.run_to_end(container, argv, stdin, RUN).await
    }

    async fn run_to_end(
        &self,
        container: &str,
        argv: &[impl AsRef<str> + Sync],
        stdin: Option<impl AsyncRead + Unpin>,
        deadline: Duration,
    ) -> Result<ExecOutput> {
        let what = || format!("run `{}` in '{container}'", Argv(argv));
        let deadline = Deadline::begin(deadline);
        let mut said = Transcript::default();
        let run = async {
            let (id, mut output, mut input) =
                self.start_exec(container, argv, stdin.is_some()).await?;
            let feed = async {
                if let Some(mut reader) = stdin {
                    // A write error only means that the command stopped reading. Its exit status
                    // decides whether that is a failure.
                    tokio::io::copy(&mut reader, &mut input).await.ok();
                    input.shutdown().await.ok();
                }
            };
            let read = async {
                while let Some(part) = output.next().await {
                    said.add(part.explain(|| "read its output".into())?);
                }
                Result::Ok(())
            };
            let ((), read) = tokio::join!(feed, read);
            read?;
            self.exit_status(&id).await
        };
        let status = match deadline.give(run).await {
            Some(status) => status,
            None => Err(deadline.missed("its end", &said.last_line())),
        };
        Ok(ExecOutput {
            status: status.with_context(what)?,
            stdout: said.stdout,
            stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
        })
    }

    /// Waits for the exit status: the streams can close a moment before the engine has noted it.
    async fn exit_status(&self, exec: &str) -> Result<i64> {
        wait::until("an exit status", Duration::from_secs(60), async || {
            let found = self.raw().inspect_exec(exec).await;
            match found.explain(|| "ask for its exit status".into()) {
                Ok(found) if found.running == Some(true) => Probe::Pending("running".into()),
                Ok(found) => Probe::from_option(found.exit_code, || "no exit status".into()),
                Err(error) => Probe::Failed(error),
            }
        })
        .await
    }

    /// Runs a command in a container and demands success.
    ///
    /// # Errors
    /// As [`exec`](Docker::exec), or the command fails: the error has the command, its
    /// status and the last lines it wrote.
    pub async fn exec_ok(
        &self,
        container: &str,
        argv: &[impl AsRef<str> + Sync],
        stdin: Option<Vec<u8>>,
    ) -> Result<ExecOutput> {
        self.exec(container, argv, stdin)
            .await?
            .demand(container, argv)
    }

    /// The standard output of a command, and whether the command ended by itself. When it writes
    /// too much or takes too long, the output so far is returned.
    ///
    /// # Errors
    /// The container does not run, or the engine does not answer at all.
    pub async fn exec_bounded(
        &self,
        container: &str,
        argv: &[impl AsRef<str>],
        bytes: usize,
        deadline: Duration,
    ) -> Result<(Vec<u8>, bool)> {
        let what = || {
            format!(
                "run `{}` in '{container}'",
                Argv(&argv[..argv.len().min(1)])
            )
        };
        let mut stdout = Vec::new();
        let read = async {
            let (_, mut output, _input) = self.start_exec(container, argv, false).await?;
            while let Some(part) = output.next().await {
                if let LogOutput::StdOut { message } = part.explain(what)? {
                    stdout.extend_from_slice(&message);
                }
                if stdout.len() > bytes {
                    return Result::<bool>::Ok(false);
                }
            }
            Result::Ok(true)
        };
        let whole = match wait::at_most(deadline, read).await {
            Some(whole) => whole.with_context(what)?,
            None if stdout.is_empty() => {
                let seconds = wait::scaled(deadline).as_secs_f64();
                return Err(Error::timeout(format!("no answer within {seconds:.0} s")))
                    .with_context(what);
            }
            None => false,
        };
        Ok((stdout, whole))
    }

    /// A byte stream to a command's standard input and output.
    ///
    /// # Errors
    /// The container does not run, or the engine does not answer.
    pub async fn pipe(
        &self,
        container: &str,
        argv: &[impl AsRef<str> + Sync],
    ) -> Result<DuplexStream> {
        let (_, mut output, mut input) = self.start_exec(container, argv, true).await?;
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (mut from_near, mut to_near) = tokio::io::split(far);
        tokio::spawn(async move {
            tokio::io::copy(&mut from_near, &mut input).await.ok();
            input.shutdown().await.ok();
        });
        tokio::spawn(async move {
            while let Some(Ok(part)) = output.next().await {
                if let LogOutput::StdOut { message } = part
                    && to_near.write_all(&message).await.is_err()
                {
                    break;
                }
            }
            to_near.shutdown().await.ok();
        });
        Ok(near)
    }

    async fn start_exec(
        &self,
        container: &str,
        argv: &[impl AsRef<str>],
        stdin: bool,
    ) -> Result<(String, Output, Input)> {
        let config = ExecConfig {
            cmd: Some(argv.iter().map(|word| word.as_ref().to_owned()).collect()),
            attach_stdin: Some(stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..Default::default()
        };
        let exec = self
            .raw()
            .create_exec(container, config)
            .await
            .explain(|| "create exec".into())?;
        let options = StartExecOptions {
            detach: false,
            tty: false,
            output_capacity: None,
        };
        match self
            .raw()
            .start_exec(&exec.id, Some(options))
            .await
            .explain(|| "start exec".into())?
        {
            StartExecResults::Attached { output, input } => Ok((exec.id, output, input)),
            StartExecResults::Detached => Err(Error::setup("the engine detached an exec")),
        }
    }
}

/// Extracts the standard output from an engine's raw stream. Each frame starts with the number of
/// its stream, three zero bytes and a length. Everything after a broken frame is dropped.
pub fn demux(mut raw: &[u8]) -> Vec<u8> {
    let mut stdout = Vec::new();
    while let Some((head, rest)) = raw.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let whole = rest.len().min(length);
        if head[0] == 1 {
            stdout.extend_from_slice(&rest[..whole]);
        }
        raw = &rest[whole..];
    }
    stdout
}

/// An argument list as a line that can be pasted into a shell.
struct Argv<'a, S>(&'a [S]);

impl<S: AsRef<str>> fmt::Display for Argv<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&quote(word.as_ref()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_output_of_a_stream_is_found_even_if_it_breaks_off() {
        let raw = b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x01x\x01\0\0\0\0\0\0\x09cd";
        assert_eq!(demux(raw), b"abcd");
        assert_eq!(demux(b"\x01\0"), b"");
    }
}
