//! The spec of one node.

use serde::{Serialize, Serializer};

use kubenest_node::node::Role;

/// One node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeSpec {
    #[serde(serialize_with = "role_name")]
    pub(in crate::cluster) role: Role,
    pub(in crate::cluster) ports: Vec<(u16, u16)>,
    pub(in crate::cluster) mounts: Vec<(String, String, bool)>,
    /// Size of the file system for images, in MiB.
    pub(in crate::cluster) image_disk: Option<u64>,
    /// Whether it has the socket of the engine that runs it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::cluster) engine_socket: bool,
}

impl NodeSpec {
    /// A node that runs the control plane, and workloads too.
    pub fn control_plane() -> Self {
        Self::of(Role::ControlPlane)
    }

    /// A node that runs workloads only.
    pub fn worker() -> Self {
        Self::of(Role::Worker)
    }

    fn of(role: Role) -> Self {
        Self {
            role,
            ports: Vec::new(),
            mounts: Vec::new(),
            image_disk: None,
            engine_socket: false,
        }
    }

    /// Makes a TCP port of the node reachable on 127.0.0.1 of the engine's host; 0 picks
    /// a free one.
    #[must_use]
    pub fn with_port(mut self, node: u16, host: u16) -> Self {
        self.ports.push((node, host));
        self
    }

    /// Gives the images of the node's containerd a file system of their own, so small that a test
    /// can fill it. It is in memory, and also holds the images that the node comes with (about 500
    /// MiB with a recipe). Loaded images are lost when the node's container restarts.
    #[must_use]
    pub fn with_image_disk(mut self, mib: u64) -> Self {
        self.image_disk = Some(mib);
        self
    }

    /// Gives the node the socket of the engine that runs it, at `/run/docker.sock`, for pods that
    /// make containers beside the node, as Cluster API's Docker provider does. Only the nodes of a
    /// [nested](crate::Cluster::nest) cluster can have it: what is made there ends with the pod of the
    /// engine, and nothing on the machine is within its reach but through the pod's own privileges.
    #[must_use]
    pub fn with_engine_socket(mut self) -> Self {
        self.engine_socket = true;
        self
    }

    /// Mounts a folder of the engine's host, writable.
    #[must_use]
    pub fn with_mount(mut self, host: impl Into<String>, node: impl Into<String>) -> Self {
        self.mounts.push((host.into(), node.into(), false));
        self
    }

    /// Mounts a folder of the engine's host, read-only.
    #[must_use]
    pub fn with_read_only_mount(
        mut self,
        host: impl Into<String>,
        node: impl Into<String>,
    ) -> Self {
        self.mounts.push((host.into(), node.into(), true));
        self
    }
}

fn role_name<S: Serializer>(role: &Role, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(role.as_str())
}
