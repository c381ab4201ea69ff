//! Faults of what tests use: guards, runtimes of nodes, the engine.

use std::time::Duration;

use anyhow::{Context, Result};
use kubenest_base::{
    liveness::Process,
    wait::{self, Probe},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{place::Place, schedule::Kind};

/// How long a killed daemon may take to be gone.
const GONE: Duration = Duration::from_secs(30);
/// How long a full disk stays full.
const FULL: Duration = Duration::from_secs(5);
/// How long a node may take to kill its runtime.
const NODE: Duration = Duration::from_secs(20);

/// Sends a signal to a process; whether there was one.
pub(crate) fn send(pid: i32, signal: Signal) -> bool {
    pid > 1 && kill(Pid::from_raw(pid), signal).is_ok()
}

impl Place {
    /// Lets a fault happen to a cluster in use or to the engine; whether there was anything to kill.
    pub(crate) async fn strike(&self, kind: Kind, cluster: &str) -> Result<bool> {
        match kind {
            Kind::Guard => self.kill_guard(cluster).await,
            Kind::Containerd => self.kill_runtime(cluster).await,
            Kind::Disk => self.fill_disk().await,
            Kind::Engine => self.kill_engine().await,
            _ => Ok(false),
        }
    }

    async fn kill_guard(&self, cluster: &str) -> Result<bool> {
        let name = format!("{cluster}-guard");
        if self.docker.container(&name).await?.is_none() {
            return Ok(false);
        }
        let about = self.docker.inspect(&name).await?;
        let pid = about["State"]["Pid"].as_i64().unwrap_or_default();
        Ok(send(pid.try_into().unwrap_or_default(), Signal::SIGKILL))
    }

    async fn kill_runtime(&self, cluster: &str) -> Result<bool> {
        let node = format!("{cluster}-control-plane");
        let pid_of = async || {
            let argv = [
                "systemctl",
                "show",
                "--property=MainPID",
                "--value",
                "containerd",
            ];
            let (said, _) = self
                .docker
                .exec_bounded(&node, &argv, 1 << 10, NODE)
                .await?;
            anyhow::Ok(String::from_utf8_lossy(&said).trim().to_owned())
        };
        let argv = [
            "systemctl",
            "kill",
            "--signal=SIGKILL",
            "--kill-who=main",
            "containerd",
        ];
        let before = pid_of().await?;
        self.docker
            .exec_bounded(&node, &argv, 1 << 10, NODE)
            .await?;
        // What runs afterwards is another process, or none yet.
        let killed = wait::until("containerd to be another", NODE, async || {
            match pid_of().await {
                Ok(now) if now != before => Probe::Ready(()),
                Ok(now) => Probe::Pending(now),
                Err(error) => Probe::Pending(format!("{error:#}")),
            }
        });
        Ok(killed.await.is_ok())
    }

    /// Lets no cluster and no engine write anything for a while.
    async fn fill_disk(&self) -> Result<bool> {
        self.store.disk.fill_up().await?;
        wait::pace(FULL).await;
        self.store.disk.free()?;
        Ok(true)
    }

    /// Kills the engine's daemon, with which its containers end. It is started again at once, as the
    /// next user of an embedded engine would.
    async fn kill_engine(&self) -> Result<bool> {
        let daemon = self.daemon()?;
        if !send(daemon, Signal::SIGKILL) {
            return Ok(false);
        }
        let pid = u32::try_from(daemon)?;
        wait::until("the daemon's end", GONE, async || match Process::of(pid) {
            Process::Gone => Probe::Ready(()),
            other => Probe::Pending(format!("{other:?}")),
        })
        .await?;
        self.store
            .engine
            .ensure()
            .await
            .context("start the engine again")?;
        Ok(true)
    }
}
