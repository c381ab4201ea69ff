//! The health checks, one in each file: its fact, its judgement, and where it applies.
//!
//! A new check is a file, its fact in [`Facts`] and in `collect.rs`, and its line in [`CHECKS`].

pub(super) mod cgroup;
pub(super) mod clock;
pub(super) mod cri;
pub(super) mod crio;
pub(super) mod daemon;
pub(super) mod disk;
pub(super) mod image_volume;
pub(super) mod inodes;
pub(super) mod inotify;
pub(super) mod kubelet;
pub(super) mod loader;
pub(super) mod overlay;
pub(super) mod plugins;
pub(super) mod shim;
pub(super) mod snapshotter;

use std::time::{SystemTime, UNIX_EPOCH};

use self::{
    cgroup::Cgroup,
    clock::Clock,
    cri::Answers,
    crio::Crio,
    daemon::Daemon,
    disk::Disk,
    image_volume::MountResult,
    inotify::Inotify,
    kubelet::{Flags, Kubelet},
    loader::{Dump, Import},
    shim::Shim,
};
use super::{Expected, facts::Fact, outcome::Outcome, report::Finding};
use kubenest_node::node::{Runtime, containerd::Plugin};
use kubenest_recipe::compat::{self, Check as Name, Stack};

/// Every check, in the order of the report: a cause comes before its consequences.
pub(super) const CHECKS: [Check; 14] = [
    cri::CHECK,
    snapshotter::CHECK,
    plugins::CHECK,
    daemon::CHECK,
    shim::CHECK,
    overlay::CHECK,
    disk::CHECK,
    inodes::CHECK,
    kubelet::CHECK,
    cgroup::CHECK,
    inotify::CHECK,
    clock::CHECK,
    image_volume::CHECK,
    loader::CHECK,
];

/// A named judgement of the facts of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) name: Name,
    when: When,
    /// Whether it applies to nodes of this runtime; if not, the report says so.
    applies: fn(Runtime) -> bool,
    judge: fn(&Facts, &Expected) -> Fact<Outcome>,
}

/// When a check can be run.
#[derive(Debug, Clone, Copy)]
enum When {
    /// As soon as the runtime runs: it needs no Kubernetes.
    RuntimeRuns,
    /// Once Kubernetes runs.
    KubernetesRuns,
    /// As soon as the runtime runs, and only where the spec asks for it, because the check makes
    /// something in the node and removes it again.
    Asked(fn(&Expected) -> bool),
}

/// All facts that the checks judge, of one node.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) runtime: Runtime,
    pub(super) cri: Answers,
    pub(super) plugins: Fact<Vec<Plugin>>,
    pub(super) daemon: Fact<Daemon>,
    pub(super) shims: Fact<Vec<Shim>>,
    /// How CRI-O is set up; containerd has other facts.
    pub(super) crio: Fact<Crio>,
    /// `usable`, or the error message of the failed mount.
    pub(super) overlay: Fact<String>,
    pub(super) disk: Fact<Disk>,
    /// The kubelet's effective configuration.
    pub(super) kubelet: Fact<Kubelet>,
    /// The flags of the running kubelet.
    pub(super) kubelet_flags: Fact<Flags>,
    pub(super) cgroup: Fact<Cgroup>,
    pub(super) inotify: Fact<Inotify>,
    pub(super) clock: Fact<Clock>,
    /// The result of mounting an image volume; tried only where the spec asks for image volumes.
    pub(super) image_volume: Fact<MountResult>,
    pub(super) dump: Fact<Dump>,
    /// The result of an import; tried only where the spec names a loader.
    pub(super) import: Fact<Import>,
}

impl Check {
    /// Whether the check is to be run now, with Kubernetes running or not, under this spec.
    pub(super) fn is_due(&self, kubernetes_runs: bool, expected: &Expected) -> bool {
        match self.when {
            When::RuntimeRuns => true,
            When::KubernetesRuns => kubernetes_runs,
            When::Asked(is_asked) => is_asked(expected),
        }
    }

    /// Judges the facts of a node; a fact that could not be collected makes the verdict unknown.
    pub(super) fn judge(&self, node: &str, facts: &Facts, expected: &Expected) -> Finding {
        let runtime = facts.runtime;
        let outcome = match (self.applies)(runtime) {
            true => (self.judge)(facts, expected).unwrap_or_else(|why| {
                let cure = format!("docker exec {node} journalctl --no-pager --lines 50");
                Outcome::unknown(why, cure)
            }),
            false => Outcome::skipped("does not apply", format!("the runtime is {runtime}")),
        };
        outcome.on(node, self.name.name())
    }
}

impl Facts {
    /// The versions among the facts that have to be compatible.
    pub(super) fn stack(&self) -> Stack {
        let shim = self.shims.as_ref().ok().and_then(|shims| shims.first());
        let containerd = match (self.runtime, &self.cri.version) {
            (Runtime::Containerd, Ok(daemon)) => compat::version(&daemon.runtime_version),
            _ => None,
        };
        Stack {
            containerd,
            shim: shim.and_then(|shim| compat::version(&shim.found.as_ref()?.version)),
            snapshotter: loader::loader_snapshotter(&self.dump, &self.cri.image_folders).ok(),
            config: self.dump.as_ref().ok().map(|dump| dump.version),
            ..Stack::default()
        }
    }
}

/// For checks that apply to every runtime.
fn every_runtime(_: Runtime) -> bool {
    true
}

/// For checks that apply to containerd only.
fn containerd_only(runtime: Runtime) -> bool {
    runtime == Runtime::Containerd
}

/// An unused name for something that a check makes in a node and removes.
fn unused_name(what: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("{what}{}", now.unwrap_or_default().as_nanos())
}

#[cfg(test)]
mod tests;
