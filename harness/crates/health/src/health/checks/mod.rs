//! The checks: each looks at one kind of fact and says what it means.

mod kubelet;
mod loader;
mod machine;
mod runtime;

pub(super) use kubelet::drift;
pub(crate) use machine::INOTIFY_CURE;

use super::{
    Expected,
    facts::{Facts, Seen},
    report::{Finding, Verdict},
};
use kubenest_recipe::compat::Check as Name;

/// Every check, in the order of the report: a sick part is named before what suffers from it.
pub(super) const CHECKS: &[Check] = &[
    late(Name::Cri, runtime::cri),
    early(Name::Snapshotter, runtime::snapshotter),
    early(Name::Plugins, runtime::plugins),
    early(Name::Daemon, runtime::daemon),
    early(Name::Shim, runtime::shim),
    early(Name::Overlay, machine::overlay),
    late(Name::Disk, machine::disk),
    early(Name::Inodes, machine::inodes),
    late(Name::Kubelet, kubelet::config),
    late(Name::Cgroup, machine::cgroup),
    early(Name::Inotify, machine::inotify),
    early(Name::Clock, machine::clock),
];

/// The check of what a kubelet deletes, by name.
pub(super) const KUBELET: &str = Name::Kubelet.name();

/// Runs only where the spec asks for image volumes: it makes and removes a container.
pub(super) const IMAGE_VOLUME: Check = early(Name::ImageVolume, runtime::image_volume);
/// Runs only where the spec names a loader: it imports an image.
pub(super) const LOADER: Check = early(Name::Loader, loader::judge);

/// A named judgement of what was seen on a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) name: &'static str,
    /// It needs a node that runs containerd, and no Kubernetes.
    pub(super) early: bool,
    run: Judge,
}

type Judge = fn(&Facts, &Expected) -> Seen<Outcome>;

const fn early(name: Name, run: Judge) -> Check {
    Check {
        name: name.name(),
        early: true,
        run,
    }
}

const fn late(name: Name, run: Judge) -> Check {
    Check {
        name: name.name(),
        early: false,
        run,
    }
}

/// What a check makes of the facts.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) observed: String,
    pub(crate) verdict: Verdict,
    pub(crate) cure: Option<String>,
}

impl Check {
    /// Runs the check; facts that could not be had make an unknown verdict.
    pub(super) fn judge(self, node: &str, facts: &Facts, expected: &Expected) -> Finding {
        let outcome = (self.run)(facts, expected).unwrap_or_else(|why| Outcome {
            observed: why,
            verdict: Verdict::Unknown,
            cure: Some(format!(
                "docker exec {node} journalctl --no-pager --lines 50"
            )),
        });
        outcome.on(node, self.name)
    }
}

impl Outcome {
    pub(crate) fn passed(observed: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            verdict: Verdict::Passed,
            cure: None,
        }
    }

    pub(crate) fn failed(observed: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            verdict: Verdict::Failed,
            cure: Some(cure.into()),
        }
    }

    pub(crate) fn skipped(observed: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            verdict: Verdict::Skipped(reason.into()),
            cure: None,
        }
    }

    /// Passed or failed by a condition.
    pub(crate) fn when(ok: bool, observed: impl Into<String>, cure: impl Into<String>) -> Self {
        if ok {
            Self::passed(observed)
        } else {
            Self::failed(observed, cure)
        }
    }

    pub(crate) fn on(self, node: &str, name: &str) -> Finding {
        let Self {
            observed,
            verdict,
            cure,
        } = self;
        Finding {
            name: name.to_owned(),
            node: node.to_owned(),
            observed,
            verdict,
            cure,
        }
    }
}

#[cfg(test)]
mod tests;
