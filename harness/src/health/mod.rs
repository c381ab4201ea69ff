//! The health gate: typed checks that prove a booted node fit before the first test runs.
//!
//! Facts are collected from all nodes at once ([`examine`] takes about a second) and judged by
//! pure functions, so that every verdict is tested without a node. A check that could not be
//! observed proves nothing and refuses like a failed one.

mod checks;
mod collect;
mod facts;
mod report;
mod shim;

use std::collections::BTreeMap;

use futures::future::join_all;
use kube::Client;

pub(crate) use checks::Outcome;
pub use report::{Finding, Report, Verdict};

use self::{checks::CHECKS, facts::Facts};
use crate::{Error, Result, node::Node};

/// What the spec asked of every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// containerd's snapshotter, as `overlayfs`.
    pub snapshotter: String,
    /// Names of checks that may fail: their findings are reported and refuse nothing.
    pub tolerated: Vec<String>,
    /// The kubelet's effective configuration.
    pub kubelet: ExpectedKubelet,
}

/// The parts of the kubelet's configuration that decide which images and pods it deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedKubelet {
    /// Percent of disk use at which image garbage collection starts; 100 is never.
    pub image_gc_high_threshold_percent: u32,
    /// Age at which unused images go, as the kubelet writes it; `0s` is never.
    pub image_maximum_gc_age: String,
    /// Disk signals (`imagefs.available` to `10%`) on which the kubelet evicts pods and images.
    pub disk_eviction: BTreeMap<String, String>,
}

impl Expected {
    /// Lets one check fail, for a suite that reproduces a sick node on purpose.
    #[must_use]
    pub fn tolerating(mut self, check: impl Into<String>) -> Self {
        self.tolerated.push(check.into());
        self
    }

    /// A misspelt name would tolerate nothing and say nothing.
    fn validate(&self) -> Result<()> {
        let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        match self
            .tolerated
            .iter()
            .find(|name| !names.contains(&name.as_str()))
        {
            Some(name) => Err(Error::input(format!("no health check is named '{name}'"))
                .cure(format!("one of {}", names.join(", ")))),
            None => Ok(()),
        }
    }
}

/// The overlayfs snapshotter, a kubelet that deletes nothing, and no tolerated check.
impl Default for Expected {
    fn default() -> Self {
        Self {
            snapshotter: "overlayfs".to_owned(),
            tolerated: Vec::new(),
            kubelet: ExpectedKubelet::default(),
        }
    }
}

/// Nothing is deleted.
impl Default for ExpectedKubelet {
    fn default() -> Self {
        Self {
            image_gc_high_threshold_percent: 100,
            image_maximum_gc_age: "0s".to_owned(),
            disk_eviction: BTreeMap::new(),
        }
    }
}

/// Refuses unless every check that is not tolerated passed on every node.
///
/// # Errors
/// [`Refused`](crate::ErrorKind::Refused), naming check, node, observation and cure;
/// [`Input`](crate::ErrorKind::Input) when `tolerated` names no check.
pub async fn gate(nodes: &[Node], client: &Client, expected: &Expected) -> Result<Report> {
    require(nodes, Some(client), expected).await
}

/// The part of [`gate`] that needs no Kubernetes, for nodes that run containerd and not more.
///
/// A node that fails it can start no pod, its control plane's included: a boot that looks
/// first ends in a second with the cause, and not in minutes without.
///
/// # Errors
/// As [`gate`].
pub async fn gate_runtime(nodes: &[Node], expected: &Expected) -> Result<Report> {
    require(nodes, None, expected).await
}

/// Runs every check on every node at once.
pub async fn examine(nodes: &[Node], client: &Client, expected: &Expected) -> Report {
    look(nodes, Some(client), expected).await
}

async fn require(nodes: &[Node], client: Option<&Client>, expected: &Expected) -> Result<Report> {
    expected.validate()?;
    let report = look(nodes, client, expected).await;
    report.require(&expected.tolerated)?;
    Ok(report)
}

async fn look(nodes: &[Node], client: Option<&Client>, expected: &Expected) -> Report {
    let mut facts = join_all(nodes.iter().map(|node| collect::collect(node, client))).await;
    share_inotify(&mut facts);
    let findings = nodes.iter().zip(&facts).flat_map(|(node, facts)| {
        let checks = CHECKS
            .iter()
            .filter(|check| check.early || client.is_some());
        checks.map(|check| check.judge(node.name(), facts, expected))
    });
    Report {
        findings: findings.collect(),
    }
}

/// The root users of all nodes are one user to the kernel: what one uses, all have used.
fn share_inotify(facts: &mut [Facts]) {
    let used: Vec<_> = facts
        .iter()
        .filter_map(|facts| facts.inotify.as_ref().ok())
        .collect();
    let instances = used.iter().map(|inotify| inotify.instances_used).sum();
    let watches = used.iter().map(|inotify| inotify.watches_used).sum();
    for inotify in facts
        .iter_mut()
        .filter_map(|facts| facts.inotify.as_mut().ok())
    {
        inotify.instances_used = instances;
        inotify.watches_used = watches;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_checks_can_be_tolerated() {
        assert!(Expected::default().tolerating("shim").validate().is_ok());
        let error = Expected::default()
            .tolerating("shims")
            .validate()
            .unwrap_err();
        insta::assert_snapshot!(error.report(), @r"
        no health check is named 'shims'
        cure: one of cri, snapshotter, plugins, daemon, shim, overlay, disk, inodes, kubelet, cgroup, inotify, clock
        ");
    }
}
