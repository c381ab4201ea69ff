//! The checks: each looks at one kind of fact and says what it means.

mod kubelet;
mod machine;
mod runtime;

use super::{
    Expected,
    facts::{Facts, Seen},
    report::{Finding, Verdict},
};

/// Every check, in the order of the report: a sick part is named before what suffers from it.
pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "cri",
        run: runtime::cri,
    },
    Check {
        name: "snapshotter",
        run: runtime::snapshotter,
    },
    Check {
        name: "plugins",
        run: runtime::plugins,
    },
    Check {
        name: "daemon",
        run: runtime::daemon,
    },
    Check {
        name: "shim",
        run: runtime::shim,
    },
    Check {
        name: "overlay",
        run: machine::overlay,
    },
    Check {
        name: "disk",
        run: machine::disk,
    },
    Check {
        name: "inodes",
        run: machine::inodes,
    },
    Check {
        name: "kubelet",
        run: kubelet::config,
    },
    Check {
        name: "cgroup",
        run: machine::cgroup,
    },
    Check {
        name: "inotify",
        run: machine::inotify,
    },
    Check {
        name: "clock",
        run: machine::clock,
    },
];

/// A named judgement of what was seen on a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) name: &'static str,
    run: fn(&Facts, &Expected) -> Seen<Outcome>,
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
