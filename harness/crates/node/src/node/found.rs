//! Finds the nodes of running clusters by the labels that both kind and kubenest set.

use futures::future::try_join_all;

use super::{Node, Role};
use kubenest_base::{Error, Result};
use kubenest_docker::Docker;

/// The label by which kind finds the containers of a cluster. Since kubenest sets it too, the
/// `kind` CLI can load images into a kubenest cluster.
pub const KIND_CLUSTER: &str = "io.x-k8s.kind.cluster";
/// The label in which kind keeps a node's role.
pub const KIND_ROLE: &str = "io.x-k8s.kind.role";

/// The clusters of an engine, both kubenest's and kind's, by name.
///
/// # Errors
/// The engine does not answer.
pub async fn clusters(docker: &Docker) -> Result<Vec<String>> {
    let found = docker.named_by(KIND_CLUSTER).await?;
    let mut names: Vec<String> = found.into_iter().map(|(_, cluster)| cluster).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The nodes of a cluster, of kubenest's or of kind's, by name.
///
/// # Errors
/// There is no such cluster, or one of its nodes does not run.
pub async fn of_cluster(docker: &Docker, cluster: &str) -> Result<Vec<Node>> {
    let found = found(docker, cluster).await?;
    let nodes = found
        .iter()
        .map(|(name, role)| Node::attach(docker, name, *role));
    try_join_all(nodes).await
}

/// Names and roles of a cluster's nodes, even of those that do not run. A load balancer, which kind
/// starts beside them, is no node.
///
/// # Errors
/// There is no such cluster.
pub async fn found(docker: &Docker, cluster: &str) -> Result<Vec<(String, Role)>> {
    let (of, roles) = tokio::try_join!(docker.named_by(KIND_CLUSTER), docker.named_by(KIND_ROLE))?;
    let mut nodes: Vec<(String, Role)> = roles
        .into_iter()
        .filter(|(name, _)| of.iter().any(|(of, its)| of == name && its == cluster))
        .filter_map(|(name, role)| Some((name, Role::parse(&role)?)))
        .collect();
    if nodes.is_empty() {
        return Err(Error::not_found(format!("no cluster '{cluster}'"))
            .cure("`kubenest list` shows kubenest's, `kind get clusters` shows kind's"));
    }
    nodes.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(nodes)
}
