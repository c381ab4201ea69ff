//! Real Kubernetes nodes for `cargo test`.
//!
//! A [`ClusterSpec`] boots to a [`Cluster`]: containers of a Docker engine that run a real
//! kubelet, containerd and control plane, proved usable and healthy. [`Cluster::case`] runs
//! one test in a namespace of its own. What was made is removed when the cluster is dropped,
//! and also when the process is killed.
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
//! Without a recipe, the node is the one that `KUBENEST_NODE` names, else a published
//! `kindest/node` by digest when its registry answers, else one that is built.
//! [`settings`] has every variable that is read.
//!
//! `KUBENEST_LOCK` names a file that holds what the nodes are made of; a boot that would take
//! anything else is refused, with the difference.
//!
//! Errors ([`Error`]) name the cause and, where the user can do something, the cure.
//! A failed wait says what was seen last; a pair of versions known not to work is refused
//! before anything is started.
//!
//! # Features
//! `k8s-v1_33` (default) picks the Kubernetes types of [`k8s_openapi`]. A crate that picks
//! others in its own dependency turns the defaults off: there can be only one.

pub mod case;
pub mod cluster;
mod verdict;
pub mod wait;

pub use case::Case;
pub use cluster::{Cluster, ClusterSpec, NodeSpec};
pub use k8s_openapi;
pub use kube;
pub use kubenest_base::{
    Error, ErrorKind, Origin, Result, lock, process, settings, store, telemetry,
};
pub use kubenest_diagnosis as diagnosis;
pub use kubenest_docker as docker;
pub use kubenest_evidence as evidence;
pub use kubenest_forge::{component, engine, image};
pub use kubenest_health::{doctor, health};
pub use kubenest_images as images;
pub use kubenest_node::{node, objects};
pub use kubenest_recipe::{compat, recipe};
pub use verdict::skip;
