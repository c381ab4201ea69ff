//! The configuration of webhooks, completed so that the API server calls this process.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use kubenest_base::{Error, Result};

/// The label of the object by which is seen that webhooks are called. No handler gets it.
pub(super) const PROBE: &str = "dev.kubenest.webhook-probe";

/// The start of the path of a webhook that only the probe calls; a configuration's number follows.
const PROBE_PATH: &str = "/dev.kubenest.webhook-probe/";

const KINDS: [&str; 2] = [
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
];

/// Where webhooks are served, and for which namespace.
pub(super) struct Endpoint<'a> {
    pub(super) namespace: &'a str,
    /// The port on the 127.0.0.1 of the API server's node.
    pub(super) port: u16,
    /// What has signed the server's certificate, as PEM.
    pub(super) authority: &'a str,
}

impl Endpoint<'_> {
    /// Completes a configuration.
    pub(super) fn complete(&self, configuration: &Value, number: usize) -> Result<Value> {
        let mut completed = configuration.clone();
        let kind = configuration["kind"].as_str().unwrap_or_default();
        let name = configuration["metadata"]["name"].as_str();
        let name = name.unwrap_or_default();
        let refused = |why: &str| Error::input(format!("{kind} '{name}' {why}")).asserted();
        if !KINDS.contains(&kind) {
            let cure = format!(
                "give a {} to `webhook`, and all else to `apply`",
                KINDS.join(" or ")
            );
            return Err(refused("configures no webhooks").cure(cure));
        }
        completed["metadata"]["name"] = format!("{name}.{}", self.namespace).into();
        let webhooks = completed["webhooks"].as_array_mut();
        let webhooks = webhooks.filter(|webhooks| webhooks.iter().all(Value::is_object));
        let webhooks = webhooks.ok_or_else(|| refused("has no list `webhooks` of objects"))?;
        for webhook in &mut *webhooks {
            let given = &webhook["clientConfig"];
            let path = given["service"]["path"].as_str().or(given["url"].as_str());
            webhook["clientConfig"] = self.client_config(path_of(path.unwrap_or_default()));
            let own = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
            let defaults = [
                ("namespaceSelector", own),
                ("admissionReviewVersions", json!(["v1"])),
                ("sideEffects", json!("None")),
            ];
            for (key, default) in defaults {
                if webhook[key].is_null() {
                    webhook[key] = default;
                }
            }
        }
        webhooks.push(self.probe(number));
        Ok(completed)
    }

    fn client_config(&self, path: &str) -> Value {
        json!({
            "url": format!("https://127.0.0.1:{}{path}", self.port),
            "caBundle": BASE64_STANDARD.encode(self.authority),
        })
    }

    /// The webhook that only the probe calls.
    fn probe(&self, number: usize) -> Value {
        json!({
            "name": "probe.kubenest.dev",
            "clientConfig": self.client_config(&format!("{PROBE_PATH}{number}")),
            "rules": [{
                "apiGroups": ["coordination.k8s.io"],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["leases"],
            }],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "objectSelector": {"matchLabels": {PROBE: ""}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
        })
    }
}

/// The path of a URL, or of a Service.
fn path_of(address: &str) -> &str {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => address,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

/// The number of the configuration whose probe has this path.
pub(super) fn probe_number(path: &str) -> Option<usize> {
    path.strip_prefix(PROBE_PATH)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: Endpoint<'_> = Endpoint {
        namespace: "case-1",
        port: 4000,
        authority: "A",
    };

    #[test]
    fn a_configuration_leads_to_this_process_and_to_no_other_namespace() {
        let given = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "paint"},
            "webhooks": [
                {
                    "name": "a.example.com",
                    "clientConfig": {"service": {"name": "a", "namespace": "b", "path": "/mutate"}},
                    "sideEffects": "NoneOnDryRun",
                },
                {
                    "name": "b.example.com",
                    "clientConfig": {"url": "https://example.com/b?c=d"},
                    "namespaceSelector": {},
                },
            ],
        });
        let completed = ENDPOINT.complete(&given, 7).unwrap();
        assert_eq!(completed["metadata"]["name"], "paint.case-1");
        let own = json!({"matchLabels": {"kubernetes.io/metadata.name": "case-1"}});
        let webhooks = completed["webhooks"].as_array().unwrap();
        let [first, second, probe] = &webhooks[..] else {
            panic!("{webhooks:?}");
        };
        let config = |url: &str| json!({"url": url, "caBundle": "QQ=="});
        assert_eq!(
            *first,
            json!({
                "name": "a.example.com",
                "clientConfig": config("https://127.0.0.1:4000/mutate"),
                "namespaceSelector": own,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "NoneOnDryRun",
            })
        );
        assert_eq!(second["namespaceSelector"], json!({}));
        assert_eq!(second["clientConfig"], config("https://127.0.0.1:4000/b"));
        assert_eq!(probe["namespaceSelector"], own);
        let path = path_of(probe["clientConfig"]["url"].as_str().unwrap());
        assert_eq!(
            (probe_number(path), probe_number("/mutate")),
            (Some(7), None)
        );
    }

    #[test]
    fn what_configures_no_webhooks_is_refused() {
        let told = |given: Value| ENDPOINT.complete(&given, 0).unwrap_err().report();
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "a"}});
        insta::assert_snapshot!(told(map), @r"
        ConfigMap 'a' configures no webhooks
        cure: give a ValidatingWebhookConfiguration or MutatingWebhookConfiguration to `webhook`, and all else to `apply`
        ");
        let empty = json!({"kind": KINDS[0], "metadata": {"name": "a"}, "webhooks": ["b"]});
        insta::assert_snapshot!(told(empty), @"ValidatingWebhookConfiguration 'a' has no list `webhooks` of objects");
    }
}
