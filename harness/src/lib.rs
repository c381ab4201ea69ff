//! Real Kubernetes nodes for `cargo test`.
//!
//! A [`ClusterSpec`] boots to a [`Cluster`]: containers of a Docker engine that run a real kubelet,
//! containerd and control plane, proved usable and healthy. [`Cluster::case`] runs one test in a
//! namespace of its own. Everything is removed when the cluster is dropped, and also when the
//! process is killed.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use kubenest::{ClusterSpec, cluster::probe_pod};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = ClusterSpec::with_workers(1).with_recipe("v1.32.1-containerd-2.0.2")?;
//! let cluster = cluster.boot().await?;
//! cluster
//!     .case(async |case| {
//!         case.create(&probe_pod(&case.cluster().nodes()[1], "on-a-worker").await?).await?;
//!         case.pod_ready("on-a-worker", Duration::from_secs(60)).await?;
//!         Ok(())
//!     })
//!     .await?;
//! cluster.down().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Without a recipe, the node image is the one that `KUBENEST_NODE` names, else a published
//! `kindest/node` by digest if its registry answers, else one that kubenest builds. README.md lists
//! all variables.
//!
//! `KUBENEST_LOCK` names a file that records the versions of nodes; a boot with any other is
//! refused, and the error names the difference.
//!
//! Errors ([`Error`]) name the cause and, where the user can do something, the cure. A timeout says
//! what was seen last; a pair of versions that is known not to work is refused before anything is
//! started.
//!
//! # Features
//! `k8s-v1_33` (default) selects the Kubernetes types of [`k8s_openapi`]; a crate that selects other
//! types must turn off the default features. `testcontainers` adds `Case::start_container`.

#[doc(hidden)]
pub mod __private;
mod case;
pub mod cluster;
mod settings;
mod verdict;
pub mod wait;

pub use case::Case;
pub use cluster::{Cluster, ClusterSpec, LeaseRequest, NodeSpec, Preparation, lease};
pub use k8s_openapi;
pub use kube;
#[doc(inline)]
pub use kubenest_base::{Error, ErrorKind, Origin, Result};
#[doc(inline)]
pub use kubenest_macros::test;
pub use settings::{engine, settings, telemetry};
pub use verdict::skip;

/// The evidence that is kept of a failure.
pub mod evidence {
    pub use kubenest_evidence::Bundle;
}

/// The health gate: its requirements and its findings.
pub mod health {
    pub use kubenest_health::health::{Expected, ExpectedKubelet, Finding, Report, Verdict};
}

/// Images: loaded into nodes layer by layer, and pinned.
pub mod images {
    pub use kubenest_forge::image::SmallImage;
    pub use kubenest_images::{ImageSource, Images, Load, NodeLoad, Pin};
}

/// Nodes: machines with services, files and a container runtime.
pub mod node {
    pub use kubenest_docker::{ExecOutput, FileEntry};
    pub use kubenest_node::node::{Incoming, Node, NodeListener, NodeStream, Role, Runtime};

    /// The container runtime of a node, with the calls that the kubelet makes.
    pub mod cri {
        pub use kubenest_node::node::cri::{Cri, Image, PodConfig};
    }
}

/// Creating and watching objects of the Kubernetes API.
pub mod objects {
    pub use kubenest_node::objects::{
        ContainerRef, Manifests, Scope, answer, create, gone, pod_ready, seen, until,
    };
}

/// Recipes: the parts and versions of nodes.
pub mod recipe {
    pub use kubenest_forge::image::NodeImage;
    pub use kubenest_recipe::recipe::{Recipe, Versions};
}
