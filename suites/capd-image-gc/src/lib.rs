//! The place of the capd-image-gc suite: a CI node, a pod with Docker on it, and in there Cluster API
//! with a cluster that it has made, all on one small disk.

pub mod hosted;
pub mod place;
pub mod pressure;
pub mod workload;
