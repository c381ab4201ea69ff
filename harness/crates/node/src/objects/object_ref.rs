//! An object of any kind, by its name.

use std::fmt;

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Preconditions, PropagationPolicy},
    core::ApiResource,
};
use serde::{Deserialize, Serialize};

use super::{answer, refusal};
use kubenest_base::{Error, Result};

/// The group of webhooks and policies.
const ADMISSION: &str = "admissionregistration.k8s.io";

/// An object of any kind, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its kind.
    pub resource: ApiResource,
    /// Its namespace, if its kind has them.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// The interface through which it can be changed.
    pub fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }

    /// Whether it can make the removal of others fail, so that it goes first.
    pub fn is_guard(&self) -> bool {
        self.resource.group == ADMISSION || self.resource.kind == "APIService"
    }

    /// Removes the object that has this uid, without waiting for its end. One that is gone, or a
    /// newer one of the same name, is left alone.
    ///
    /// # Errors
    /// The API server refuses, or does not answer.
    pub async fn remove(&self, client: &Client, uid: Option<String>) -> Result<()> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                // Another test may have made one of the same name since.
                uid,
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        let api = self.api(client);
        let removed = api.delete(&self.name, &params);
        match answer(|| format!("remove {self}"), removed).await {
            Err(error) if is_gone(&error) => Ok(()),
            removed => removed.map(drop),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = &self.resource.kind;
        match &self.namespace {
            Some(namespace) => write!(f, "{kind} '{namespace}/{}'", self.name),
            None => write!(f, "{kind} '{}'", self.name),
        }
    }
}

/// Whether a removal found no such object, or a newer one, or its kind is gone.
fn is_gone(error: &Error) -> bool {
    matches!(refusal(error), Some(404 | 409))
}
