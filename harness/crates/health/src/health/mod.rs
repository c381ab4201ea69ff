//! The health gate: typed checks that prove a booted node healthy before the first test runs.
//!
//! Facts are collected from all nodes at once ([`examine`] takes about a second) and judged by pure
//! functions, so that every verdict is tested without a node. A check without an observation proves
//! nothing, and refuses like a failed one.

mod checks;
mod collect;
mod expected;
mod facts;
mod outcome;
mod report;
mod restore;

use futures::future::join_all;
use kube::Client;

pub(crate) use self::{checks::inotify::CURE as INOTIFY_CURE, outcome::Outcome};
pub use self::{
    expected::{Expected, ExpectedKubelet},
    report::{Finding, Report, Verdict},
};

use self::checks::{CHECKS, Facts, inotify};
use kubenest_base::Result;
use kubenest_node::node::Node;
use kubenest_recipe::compat;

/// Refuses unless every check that is not tolerated passed on every node.
///
/// # Errors
/// [`Refused`](kubenest_base::ErrorKind::Refused), naming check, node, observation and cure;
/// [`Input`](kubenest_base::ErrorKind::Input) when `tolerated` names no check.
pub async fn gate(nodes: &[Node], client: &Client, expected: &Expected) -> Result<Report> {
    let (report, _) = require(nodes, Some(client), expected).await?;
    Ok(report)
}

/// As [`gate`], for nodes on which tests have run. First it puts back kubelet settings that delete
/// otherwise than asked, unless a flag sets them or `tolerated` names the check. `tell` gets a line
/// for each node that was changed.
pub async fn gate_restoring(
    nodes: &[Node],
    client: &Client,
    expected: &Expected,
    tell: impl Fn(&str),
) -> Result<Report> {
    expected.validate()?;
    let (report, facts) = look(nodes, Some(client), expected).await;
    let done = restore::put_back_kubelets(nodes, client, &facts, expected).await;
    if done.is_empty() {
        report.require(&expected.tolerated)?;
        return Ok(report);
    }
    done.iter().for_each(|line| tell(line));
    gate(nodes, client, expected).await
}

/// The part of [`gate`] that needs no Kubernetes, for nodes that run only a container runtime.
///
/// A node that fails it can start no pod, not even its control plane. With this check a boot fails
/// within a second and names the cause, instead of failing after minutes without one.
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

/// The versions that a node reports, for [`compat::after_boot`]; those that it does not report are
/// left out.
pub async fn running_stack(node: &Node) -> compat::Stack {
    collect::collect(node, None, &Expected::default())
        .await
        .stack()
}

/// As [`gate`], for nodes that have just passed [`gate_runtime`]: the trials that make something in
/// the node are not repeated. Returns the versions that the nodes run, as [`running_stack`] does.
pub async fn gate_running(
    nodes: &[Node],
    client: &Client,
    expected: &Expected,
) -> Result<Vec<compat::Stack>> {
    let expected = Expected {
        image_volumes: false,
        loader: None,
        ..expected.clone()
    };
    let (_, facts) = require(nodes, Some(client), &expected).await?;
    Ok(facts.iter().map(Facts::stack).collect())
}

async fn require(
    nodes: &[Node],
    client: Option<&Client>,
    expected: &Expected,
) -> Result<(Report, Vec<Facts>)> {
    expected.validate()?;
    let (report, facts) = look(nodes, client, expected).await;
    report.require(&expected.tolerated)?;
    Ok((report, facts))
}

async fn look(
    nodes: &[Node],
    client: Option<&Client>,
    expected: &Expected,
) -> (Report, Vec<Facts>) {
    let looks = nodes
        .iter()
        .map(|node| collect::collect(node, client, expected));
    let mut facts = join_all(looks).await;
    inotify::share(&mut facts);
    let due: Vec<_> = CHECKS
        .iter()
        .filter(|check| check.is_due(client.is_some(), expected))
        .collect();
    let findings = nodes.iter().zip(&facts).flat_map(|(node, facts)| {
        let judgements = due.iter();
        let path = node.path();
        judgements.map(move |check| check.judge(&path, facts, expected))
    });
    let report = Report {
        findings: findings.collect(),
    };
    (report, facts)
}
