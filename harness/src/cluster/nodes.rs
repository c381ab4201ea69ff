//! The nodes of a cluster, asked for by role.

use std::ops::Deref;

use kubenest_node::node::{Node, Role};

/// The nodes of a cluster, the control plane first; there is at least one.
#[derive(Debug, Clone)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    /// These nodes.
    ///
    /// # Panics
    /// None of them runs the control plane.
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        let nodes = Self(nodes);
        nodes.control_plane();
        nodes
    }

    /// The node that runs the control plane.
    pub(super) fn control_plane(&self) -> &Node {
        let found = self.of(Role::ControlPlane).next();
        found.expect("a cluster must have a control plane")
    }

    /// The nodes that run workloads only.
    pub(super) fn workers(&self) -> impl Iterator<Item = &Node> {
        self.of(Role::Worker)
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.0.iter().filter(move |node| node.role() == role)
    }
}

impl Deref for Nodes {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        &self.0
    }
}
