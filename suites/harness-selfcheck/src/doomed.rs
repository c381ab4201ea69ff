//! A process that is to be killed, on this machine or as if on another.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use kubenest::engine::Docker;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Command prefix that runs a program with its own process tree, host name and mounts, as in
/// another container or on another machine.
pub const ELSEWHERE: [&str; 10] = [
    "unshare",
    "--pid",
    "--uts",
    "--mount",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "sh",
    "-c",
    include_str!("elsewhere.sh"),
];

/// Command prefix that runs a program as another user who cannot see the processes of others.
pub const STRANGER: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    include_str!("stranger.sh"),
];

/// A process that has created the container `<cluster>-box`, the network `<cluster>-net` and the
/// volume `<cluster>-vol` of a cluster.
pub struct DoomedProcess(Child);

/// How to start a [`DoomedProcess`].
pub struct Plan<'a> {
    /// The program `doomed`.
    pub program: &'a str,
    /// Words before the program on the command line.
    pub before: Vec<String>,
    /// The name of its cluster.
    pub cluster: &'a str,
    /// The image of its container.
    pub image: &'a str,
    /// Seconds after which other hosts may remove its containers, networks and volumes.
    pub seconds: u32,
    /// The image of its guard, if it gets one.
    pub guard: Option<&'a str>,
    /// The cache of the lease `l`, which it holds and to which everything it creates belongs.
    pub cache: Option<&'a str>,
}

impl<'a> Plan<'a> {
    /// A process on this machine, with a guard if its image is given.
    pub fn here(program: &'a str, image: &'a str, guard: Option<&'a str>) -> Self {
        Self {
            program,
            before: Vec::new(),
            cluster: "c",
            image,
            seconds: 7200,
            guard,
            cache: None,
        }
    }
}

impl DoomedProcess {
    /// Starts the process and waits until it has created everything.
    pub async fn start(engine: &Docker, plan: &Plan<'_>) -> Result<Self> {
        let socket = engine.socket().and_then(Path::to_str);
        let socket = socket.context("the engine has no socket")?;
        let seconds = plan.seconds.to_string();
        let mut words: Vec<&str> = plan.before.iter().map(String::as_str).collect();
        words.extend([plan.program, socket, plan.cluster, plan.image, &seconds]);
        words.push(plan.guard.unwrap_or("-"));
        words.extend(plan.cache);
        #[expect(
            clippy::disallowed_methods,
            reason = "it has to be killed from outside"
        )]
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let output = child.stdout.take().context("it has no output")?;
        let line = BufReader::new(output).lines().next_line().await?;
        ensure!(line.as_deref() == Some("made"), "it said {line:?}");
        Ok(Self(child))
    }

    /// Kills the process by `kill -9` and waits for its end.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.0.kill().await?)
    }
}
