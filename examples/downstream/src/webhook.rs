//! The validating webhook: refuses pages that no schema can.

use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, Operation},
};
use serde_json::Value;

use crate::MOST_REPLICAS;

/// The answer to a request to create or change a page.
pub fn admit(request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    let replicas = |page: &Option<DynamicObject>| {
        let page = page.as_ref();
        page.and_then(|page| page.data["spec"]["replicas"].as_i64())
    };
    let (new, old) = (replicas(&request.object), replicas(&request.old_object));
    match (new, old, &request.operation) {
        (Some(new), _, _) if new > MOST_REPLICAS.into() => response.deny(format!(
            "a page has at most {MOST_REPLICAS} pods, not {new}"
        )),
        (Some(0), Some(old), Operation::Update) if old > 0 => {
            response.deny("a page that is served is removed, not emptied")
        }
        _ => response,
    }
}

/// The configuration by which the API server asks.
pub fn configuration() -> Value {
    serde_json::json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "pages"},
        "webhooks": [{
            "name": "pages.example.com",
            "rules": [{
                "apiGroups": ["example.com"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["pages"],
            }],
        }],
    })
}
