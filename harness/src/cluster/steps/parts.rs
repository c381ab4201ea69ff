//! Reports the state of a cluster's containers, for the error of a step that has waited for them in
//! vain.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use serde_json::Value;

use kubenest_base::{Error, ErrorKind, Result, wait};
use kubenest_node::{node::Node, objects};

/// The containers of a control plane.
pub(super) const CONTROL_PLANE: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// How long the runtime may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Adds to a timeout what the runtime of the node says of these containers.
pub(super) async fn explain<T>(waited: Result<T>, node: &Node, names: &[&str]) -> Result<T> {
    match waited {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            let asked = async { node.cri().await?.containers().await };
            let states = match wait::within("the runtime's answer", ANSWER, asked).await {
                Ok(pods) => states(&pods, names),
                Err(silent) => format!("the runtime does not tell: {}", silent.report()),
            };
            Err(Error::timeout(format!("on node '{node}' {states}")).because(error))
        }
        waited => waited,
    }
}

/// Adds to a timeout which of the cluster's own pods are not Ready, and why.
pub(super) async fn explain_pods<T>(waited: Result<T>, client: &Client) -> Result<T> {
    match waited {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            let api = Api::<Pod>::namespaced(client.clone(), "kube-system");
            let (all, what) = (ListParams::default(), || "list pods".to_owned());
            let asked = objects::answer(what, api.list(&all));
            let told = match wait::within("the API server's answer", ANSWER, asked).await {
                Ok(pods) => describe_unready(&pods.items),
                Err(silent) => format!("the API server does not tell: {}", silent.report()),
            };
            Err(Error::timeout(told).because(error))
        }
        waited => waited,
    }
}

fn describe_unready(pods: &[Pod]) -> String {
    let is_ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|it| it.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|it| it.type_ == "Ready" && it.status == "True")
    };
    let unready = pods.iter().filter(|pod| !is_ready(pod));
    let told = unready.map(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        format!("{name}: {}", objects::seen(pod))
    });
    let told: Vec<_> = told.collect();
    match told.is_empty() {
        true => format!("all {} pods of kube-system are Ready", pods.len()),
        false => format!("pods of kube-system are not Ready: {}", told.join("; ")),
    }
}

/// The state of each of these containers in its latest attempt.
fn states(pods: &Value, names: &[&str]) -> String {
    let state = |name: &&str| {
        let pods = pods.as_array().into_iter().flatten();
        let containers = pods.flat_map(|pod| pod["containers"].as_array().into_iter().flatten());
        let named = containers.filter(|container| container["name"] == **name);
        let Some(latest) = named.max_by_key(|container| container["attempt"].as_u64()) else {
            return format!("{name} has no container");
        };
        let word = |key: &str| latest[key].as_str().unwrap_or_default();
        let mut text = format!("{name} is {}", word("state"));
        if word("state") == "exited" {
            text.push_str(&format!(" with {} {}", latest["exit_code"], word("reason")));
        }
        match latest["attempt"].as_u64() {
            None | Some(0) => text,
            Some(attempt) => format!("{text}, at attempt {}", attempt + 1),
        }
    };
    names.iter().map(state).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_are_not_ready_are_told_with_what_they_wait_for() {
        let pods = json!([
            {"metadata": {"name": "etcd-a"},
             "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {"metadata": {"name": "coredns-5d-x"}, "status": {
                "phase": "Pending",
                "containerStatuses": [{"name": "coredns", "image": "", "imageID": "",
                    "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}}],
            }},
        ]);
        let pods: Vec<Pod> = serde_json::from_value(pods).unwrap();
        insta::assert_snapshot!(
            describe_unready(&pods),
            @"pods of kube-system are not Ready: coredns-5d-x: phase Pending; coredns waits: ErrImagePull no such host"
        );
        assert_eq!(
            describe_unready(&pods[..1]),
            "all 1 pods of kube-system are Ready"
        );
    }

    #[test]
    fn the_latest_attempt_of_each_part_is_told() {
        let container = |name: &str, attempt: u32, state: &str| {
            let code = if state == "exited" { 1 } else { 0 };
            json!({"name": name, "attempt": attempt, "state": state, "exit_code": code,
                "reason": if code == 0 { "" } else { "Error" }})
        };
        let pods = json!([
            {"name": "etcd-a", "containers": [container("etcd", 0, "running")]},
            {"name": "kube-apiserver-a", "containers": [
                container("kube-apiserver", 2, "exited"), container("kube-apiserver", 1, "exited"),
            ]},
            {"name": "other", "containers": []},
        ]);
        insta::assert_snapshot!(
            states(&pods, &["etcd", "kube-apiserver", "kube-scheduler"]),
            @"etcd is running, kube-apiserver is exited with 1 Error, at attempt 3, kube-scheduler has no container"
        );
    }
}
