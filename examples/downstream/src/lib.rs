//! An operator: serves each `Page` of a namespace by as many pods as it asks for.

pub mod controller;
pub mod webhook;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The port at which a page's pods serve it.
pub const PORT: u16 = 8080;

/// The most pods that a page may have.
pub const MOST_REPLICAS: i32 = 5;

/// A text that is served.
#[derive(CustomResource, Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "example.com",
    version = "v1",
    kind = "Page",
    namespaced,
    status = "PageStatus"
)]
pub struct PageSpec {
    /// What is served.
    #[schemars(length(min = 1))]
    pub text: String,
    /// The number of pods that serve it.
    pub replicas: i32,
}

/// What has become of a page.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct PageStatus {
    /// The number of pods that are ready.
    pub ready: i32,
}
