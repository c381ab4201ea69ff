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
use crate::{
    Context, Error, Result,
    process::{last_lines, quote},
    wait::{self, Probe},
};

/// What a command in a container left.
#[derive(Debug, Clone)]
pub struct ExecOutput {
    /// Exit status; 126 and 127 mean that it could not be started.
    pub status: i64,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as UTF-8 with replacement.
    pub stderr: String,
}

impl ExecOutput {
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

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

impl Docker {
    /// Runs a command in a container to its end, whatever its exit status. Without input, and
    /// with an empty one, it reads from /dev/null.
    ///
    /// # Errors
    /// The container does not run, or the engine does not answer.
    pub async fn exec(
        &self,
        container: &str,
        argv: &[impl AsRef<str> + Sync],
        stdin: Option<Vec<u8>>,
    ) -> Result<ExecOutput> {
        // An input that has ended before the engine has opened it may never end for the command.
        let stdin = stdin.filter(|bytes| !bytes.is_empty());
        self.exec_reading(container, argv, stdin.map(std::io::Cursor::new))
            .await
    }

    /// Runs a command in a container to its end, fed from a reader of any length.
    ///
    /// # Errors
    /// As [`exec`](Docker::exec).
    pub async fn exec_reading(
        &self,
        container: &str,
        argv: &[impl AsRef<str> + Sync],
        stdin: Option<impl AsyncRead + Unpin>,
    ) -> Result<ExecOutput> {
        let what = || format!("run `{}` in '{container}'", Argv(argv));
        let (id, mut output, mut input) = self
            .start_exec(container, argv, stdin.is_some())
            .await
            .with_context(what)?;
        let feed = async {
            if let Some(mut reader) = stdin {
                // A command that stops reading early says so by its status.
                tokio::io::copy(&mut reader, &mut input).await.ok();
                input.shutdown().await.ok();
            }
        };
        let read = async {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            while let Some(part) = output.next().await {
                match part.explain(what)? {
                    LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                    other => stdout.extend_from_slice(&other.into_bytes()),
                }
            }
            Result::Ok((stdout, stderr))
        };
        let ((), read) = tokio::join!(feed, read);
        let (stdout, stderr) = read?;
        // The streams can close a moment before the engine has noted the exit.
        let status = wait::until(
            "an exit status",
            Duration::from_secs(60),
            async || match self.raw().inspect_exec(&id).await.explain(what) {
                Ok(found) if found.running == Some(true) => Probe::Pending("running".into()),
                Ok(found) => Probe::from_option(found.exit_code, || "no exit status".into()),
                Err(error) => Probe::Failed(error),
            },
        )
        .await
        .with_context(what)?;
        Ok(ExecOutput {
            status,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
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

    /// What a command writes to its standard output, and whether it got to its end: of one that
    /// writes too much or takes too long, what came before.
    ///
    /// # Errors
    /// The container does not run, or the engine does not answer at all.
    pub(crate) async fn exec_bounded(
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
        let whole = match tokio::time::timeout(deadline, read).await {
            Ok(whole) => whole.with_context(what)?,
            Err(_) if stdout.is_empty() => {
                return Err(Error::timeout(format!(
                    "no answer within {:.0} s",
                    deadline.as_secs_f64()
                )))
                .with_context(what);
            }
            Err(_) => false,
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

/// The standard output in a stream that an engine writes: frames of a stream's number, three
/// zeros and a length. What comes after a broken frame is dropped.
pub(crate) fn demux(mut raw: &[u8]) -> Vec<u8> {
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
