//! Helpers of the spire-k8s suite: SPIRE's images, its deployment, and the SVID of a workload.

pub mod deployment;
pub mod images;
pub mod svid;

/// The error of kind v0.26 when it does not find the snapshotter's name.
pub const NOT_DETECTED: &str = "failed to detect containerd snapshotter";

/// A node whose containerd writes its configuration in version 3.
pub const CONTAINERD_2_0: &str = "v1.32.1-containerd-2.0.2";
