//! The health checks, a file each: what it looks at, how it judges that, and where it applies.
//!
//! A new check is a file, its fact in [`Facts`] and in `collect.rs`, and its line in [`CHECKS`].

pub(super) mod cgroup;
pub(super) mod clock;
pub(super) mod cri;
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

/// Every check, in the order of the report: a sick part is named before what suffers from it.
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

/// A named judgement of what was seen on a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) name: Name,
    when: When,
    /// Whether it means anything on nodes of this runtime; else the report says that it does not.
    applies: fn(Runtime) -> bool,
    judge: fn(&Facts, &Expected) -> Fact<Outcome>,
}

/// When a check can be made.
#[derive(Debug, Clone, Copy)]
enum When {
    /// As soon as the runtime runs: it needs no Kubernetes.
    RuntimeRuns,
    /// Once Kubernetes runs.
    KubernetesRuns,
    /// As soon as the runtime runs, and only where the spec asks for it: it makes something in the
    /// node, and removes it.
    Asked(fn(&Expected) -> bool),
}

/// Everything that the checks look at, of one node.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) runtime: Runtime,
    pub(super) cri: Answers,
    pub(super) plugins: Fact<Vec<Plugin>>,
    pub(super) daemon: Fact<Daemon>,
    pub(super) shims: Fact<Vec<Shim>>,
    /// `usable`, or the words of what failed.
    pub(super) overlay: Fact<String>,
    pub(super) disk: Fact<Disk>,
    /// The kubelet's effective configuration.
    pub(super) kubelet: Fact<Kubelet>,
    /// What the running kubelet was started with.
    pub(super) kubelet_flags: Fact<Flags>,
    pub(super) cgroup: Fact<Cgroup>,
    pub(super) inotify: Fact<Inotify>,
    pub(super) clock: Fact<Clock>,
    /// What came of an image volume; tried only where the spec asks for them.
    pub(super) image_volume: Fact<MountResult>,
    pub(super) dump: Fact<Dump>,
    /// What came of an import; tried only where the spec names a loader.
    pub(super) import: Fact<Import>,
}

impl Check {
    /// Whether it is to be made now: with Kubernetes running or not, under this spec.
    pub(super) fn is_due(&self, kubernetes_runs: bool, expected: &Expected) -> bool {
        match self.when {
            When::RuntimeRuns => true,
            When::KubernetesRuns => kubernetes_runs,
            When::Asked(is_asked) => is_asked(expected),
        }
    }

    /// Judges the facts of a node; those that could not be had make an unknown verdict.
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
    /// What of it has to go together.
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

/// For checks of what every node has.
fn every_runtime(_: Runtime) -> bool {
    true
}

/// For checks of what is containerd's alone.
fn containerd_only(runtime: Runtime) -> bool {
    runtime == Runtime::Containerd
}

/// A name that nothing in a node has, for what a check makes there and removes.
fn unused_name(what: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("{what}{}", now.unwrap_or_default().as_nanos())
}

#[cfg(test)]
mod tests;
