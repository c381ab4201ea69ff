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

// What a test's author meets first.
pub mod case;
pub mod cluster;
pub mod diagnosis;
pub mod evidence;
pub mod health;
pub mod images;
pub mod node;
pub mod objects;
pub mod wait;

// What nodes are made of.
pub mod compat;
pub mod component;
pub mod image;
mod lockfile;
pub mod recipe;

// What they run on.
pub mod cri_client;
pub mod docker;
pub mod doctor;
pub mod engine;
pub mod tools;

// What all of it stands on.
mod background;
mod debian;
mod error;
mod file;
pub mod lock;
mod parent;
pub mod process;
mod random;
pub mod settings;
pub mod store;
pub mod telemetry;
mod verdict;

pub use case::Case;
pub use cluster::{Cluster, ClusterSpec, NodeSpec};
pub use cri_client::CriClient;
pub use error::{Context, Error, ErrorKind, Result};
pub use k8s_openapi;
pub use kube;
pub use verdict::skip;
