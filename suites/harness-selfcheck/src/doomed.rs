//! A process to be killed, in a place of its own or here.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use kubenest::engine::Docker;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// What comes before a program that is to run elsewhere: with a process tree, a host name and
/// mounts of its own, as in another container or on another machine.
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

/// What comes before a program of another user, to whom the processes of others are hidden.
pub const STRANGER: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    include_str!("stranger.sh"),
];

/// A process that made a container, a network and a volume of a cluster, `<cluster>-box`,
/// `-net` and `-vol`.
pub struct Doomed(Child);

/// How a [`Doomed`] is started.
pub struct Plan<'a> {
    /// The program `doomed`.
    pub program: &'a str,
    /// What comes before it.
    pub before: Vec<String>,
    /// The name of its cluster.
    pub cluster: &'a str,
    /// The image of its container.
    pub image: &'a str,
    /// After how many seconds others may remove its things, if they cannot see it.
    pub seconds: u32,
    /// The image of its guard, if it has one.
    pub guard: Option<&'a str>,
    /// The cache of the lease `l` that its things belong to, and that it holds.
    pub cache: Option<&'a str>,
}

impl<'a> Plan<'a> {
    /// A process here, with a guard if an image for that is given.
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

impl Doomed {
    /// Starts it; it has made everything.
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

    /// `kill -9`, and the process is gone.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.0.kill().await?)
    }
}
