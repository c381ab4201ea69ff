//! The health gate: typed checks that prove a booted node fit before the first test runs.
//!
//! Facts are collected from all nodes at once ([`examine`] takes about a second) and judged by
//! pure functions, so that every verdict is tested without a node. A check that could not be
//! observed proves nothing and refuses like a failed one.

mod checks;
mod collect;
mod expected;
mod facts;
mod image_volume;
mod kubelet;
mod loader;
mod report;
mod shim;

use futures::future::join_all;
use kube::Client;

pub(crate) use checks::{INOTIFY_CURE, Outcome};
pub use expected::{Expected, ExpectedKubelet};
pub use report::{Finding, Report, Verdict};

use self::{
    checks::{CHECKS, IMAGE_VOLUME, LOADER},
    facts::Facts,
};
use crate::{Result, compat, node::Node};

/// Refuses unless every check that is not tolerated passed on every node.
///
/// # Errors
/// [`Refused`](crate::ErrorKind::Refused), naming check, node, observation and cure;
/// [`Input`](crate::ErrorKind::Input) when `tolerated` names no check.
pub async fn gate(nodes: &[Node], client: &Client, expected: &Expected) -> Result<Report> {
    let (report, _) = require(nodes, Some(client), expected).await?;
    Ok(report)
}

/// The part of [`gate`] that needs no Kubernetes, for nodes that run containerd and not more.
///
/// A node that fails it can start no pod, its control plane's included: a boot that looks
/// first ends in a second with the cause, and not in minutes without.
///
/// # Errors
/// As [`gate`].
pub async fn gate_runtime(nodes: &[Node], expected: &Expected) -> Result<Report> {
    let (report, _) = require(nodes, None, expected).await?;
    Ok(report)
}

/// Runs every check on every node at once.
pub async fn examine(nodes: &[Node], client: &Client, expected: &Expected) -> Report {
    look(nodes, Some(client), expected).await.0
}

/// What a node says it runs, for [`compat::after_boot`]; what it cannot tell is left out.
pub async fn running(node: &Node) -> compat::Stack {
    collect::collect(node, None, &Expected::default())
        .await
        .stack()
}

/// As [`gate`]; returns what the nodes run, as [`running`] does.
pub(crate) async fn gate_running(
    nodes: &[Node],
    client: &Client,
    expected: &Expected,
) -> Result<Vec<compat::Stack>> {
    let (_, running) = require(nodes, Some(client), expected).await?;
    Ok(running)
}

async fn require(
    nodes: &[Node],
    client: Option<&Client>,
    expected: &Expected,
) -> Result<(Report, Vec<compat::Stack>)> {
    expected.validate()?;
    let (report, running) = look(nodes, client, expected).await;
    report.require(&expected.tolerated)?;
    Ok((report, running))
}

async fn look(
    nodes: &[Node],
    client: Option<&Client>,
    expected: &Expected,
) -> (Report, Vec<compat::Stack>) {
    let looks = nodes
        .iter()
        .map(|node| collect::collect(node, client, expected));
    let mut facts = join_all(looks).await;
    share_inotify(&mut facts);
    let findings = nodes.iter().zip(&facts).flat_map(|(node, facts)| {
        let checks = CHECKS
            .iter()
            .filter(|check| check.early || client.is_some())
            .chain(expected.image_volumes.then_some(&IMAGE_VOLUME))
            .chain(expected.loader.is_some().then_some(&LOADER));
        checks.map(|check| check.judge(node.name(), facts, expected))
    });
    let report = Report {
        findings: findings.collect(),
    };
    (report, facts.iter().map(Facts::stack).collect())
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
