//! Finds and removes everything that is left of an engine, however it ended: processes, mounts,
//! control groups, sockets, its network.

use std::{
    fs,
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{layout::Layout, mounts, network, packages::Binaries};
use kubenest_base::{
    Context, Result,
    wait::{self, Probe},
};

/// Longest wait for the end of processes and control groups.
const GONE: Duration = Duration::from_secs(20);

/// Longest time for killing containers; a restart policy may start them again.
const GRACE: Duration = Duration::from_secs(3);

/// Prefix of the addresses on which containerd's shims of every engine listen.
const SHIMS: &str = "unix:///run/containerd/s/";

/// A process of the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pid: Pid,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The Docker daemon.
    Daemon,
    /// A containerd, a shim or a proxy.
    Attendant,
    /// A process inside a container.
    Contained,
}

/// Kills the containers and asks the daemon to end. Whatever does not end in time is left to
/// [`clear`].
pub(super) async fn end_daemon(layout: &Layout) {
    // The daemon cleans up after containers that end before the daemon itself.
    let contained = wait::until("the containers to end", GRACE, async || {
        let left = signal(&processes(layout), Role::Contained, Signal::SIGKILL);
        Probe::from_option((left == 0).then_some(()), || format!("{left} processes"))
    });
    contained.await.ok();
    // One signal only, because the daemon ends without cleaning up at the third one.
    signal(&processes(layout), Role::Daemon, Signal::SIGTERM);
    let daemon = wait::until("the Docker daemon to end", GONE, async || {
        Probe::from_option((!daemon_runs(layout)).then_some(()), || {
            "it runs".to_owned()
        })
    });
    daemon.await.ok();
}

/// Removes everything of the engine except its lasting folder.
pub(super) async fn clear(layout: &Layout, binaries: &Binaries) -> Result<()> {
    end_processes(layout).await?;
    remove_shim_sockets(layout);
    mounts::undo(layout)?;
    remove_control_groups(layout).await;
    network::tear_down(layout, &binaries.tools(&layout.run).await?).await?;
    match fs::remove_dir_all(&layout.run) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove '{}'", layout.run.display()))
        }
        _ => Ok(()),
    }
}

/// Whether there is anything to clear.
pub(super) fn any(layout: &Layout) -> Result<bool> {
    let bridges = || network::bridges(layout).map(|bridges| !bridges.is_empty());
    Ok(layout.run.exists() || !processes(layout).is_empty() || bridges()?)
}

/// All processes of the engine: daemons and shims have its mark in their environment, processes of
/// containers run in its control group.
pub(super) fn processes(layout: &Layout) -> Vec<Process> {
    let (name, run) = layout.mark();
    let mark = [name.as_bytes(), b"=", run.as_os_str().as_bytes()].concat();
    let group = format!("/{}/", layout.cgroup());
    let look = |pid: i32| {
        let folder = Path::new("/proc").join(pid.to_string());
        let read = |file| fs::read(folder.join(file)).unwrap_or_default();
        let marked = read("environ").split(|b| *b == 0).any(|v| v == mark);
        let role = match read("comm").trim_ascii() {
            // setsid turns into bash by exec, and bash into the daemon.
            b"dockerd" | b"setsid" | b"bash" if marked => Role::Daemon,
            _ if marked => Role::Attendant,
            _ if String::from_utf8_lossy(&read("cgroup")).contains(&group) => Role::Contained,
            _ => return None,
        };
        let pid = Pid::from_raw(pid);
        (!is_dead(&read("stat"))).then_some(Process { pid, role })
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| look(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// Whether the daemon is among the processes.
pub(super) fn daemon_runs(layout: &Layout) -> bool {
    processes(layout).iter().any(|p| p.role == Role::Daemon)
}

/// Whether a process has ended and only waits for its parent to collect it. In `/proc/<pid>/stat`
/// the state follows the name in brackets.
fn is_dead(stat: &[u8]) -> bool {
    let state = stat
        .iter()
        .rposition(|b| *b == b')')
        .and_then(|end| stat.get(end + 2));
    !matches!(state, Some(state) if !b"ZX".contains(state))
}

/// Kills until no process is left, because a process may start others before it dies.
async fn end_processes(layout: &Layout) -> Result<()> {
    wait::until("the engine's processes to end", GONE, async || {
        let left = processes(layout);
        for role in [Role::Daemon, Role::Attendant, Role::Contained] {
            signal(&left, role, Signal::SIGKILL);
        }
        Probe::from_option(left.is_empty().then_some(()), || format!("{left:?}"))
    })
    .await
}

/// Signals the processes of a role; returns how many there are.
fn signal(processes: &[Process], role: Role, signal: Signal) -> usize {
    let mut count = 0;
    for process in processes.iter().filter(|process| process.role == role) {
        // The process may have ended by itself in the meantime, which is just as good.
        kill(process.pid, signal).ok();
        count += 1;
    }
    count
}

/// Removes the sockets of killed shims. They are in a folder that all engines share, so the folder
/// of each container tells which socket is the engine's.
fn remove_shim_sockets(layout: &Layout) {
    let tasks = layout
        .exec()
        .join("containerd/daemon/io.containerd.runtime.v2.task")
        .join(layout.namespace());
    for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let address = shim_address(&task.path()).unwrap_or_default();
        let name = address.strip_prefix(SHIMS).unwrap_or_default();
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            fs::remove_file(&address["unix://".len()..]).ok();
        }
    }
}

/// The shim's address in containerd's notes: a plain text in 1.x, JSON in 2.x.
fn shim_address(task: &Path) -> Option<String> {
    fs::read_to_string(task.join("address")).ok().or_else(|| {
        let noted = fs::read(task.join("bootstrap.json")).ok()?;
        let noted: Value = serde_json::from_slice(&noted).ok()?;
        Some(noted["address"].as_str()?.to_owned())
    })
}

/// Removes the engine's control groups, in each hierarchy of version 1 or in the one of version 2.
/// The kernel needs a moment before it releases a group whose processes have just died.
async fn remove_control_groups(layout: &Layout) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    let groups: Vec<PathBuf> = hierarchies
        .chain([root.to_owned()])
        .map(|hierarchy| hierarchy.join(layout.cgroup()))
        .filter(|group| group.is_dir())
        .collect();
    let gone = wait::until("control groups to be gone", GONE, async || {
        groups.iter().for_each(|group| remove_group(group));
        let left = groups.iter().find(|group| group.is_dir());
        left.map_or(Probe::Ready(()), |group| {
            Probe::Pending(group.display().to_string())
        })
    });
    if let Err(error) = gone.await {
        tracing::warn!("{error}");
    }
}

fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    fs::remove_dir(group).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_dead_whatever_its_name() {
        assert!(is_dead(b"12 (a) R b) Z 1 1"));
        assert!(!is_dead(b"12 (dockerd) S 1 1"));
        assert!(is_dead(b""), "gone while it was looked at");
    }
}
