//! The pods and containers of a runtime, running or ended, as evidence shows them.

use std::collections::HashMap;

use prost::Message;
use serde_json::{Value, json};

use super::{Cri, Empty, ImageSpec};
use kubenest_base::Result;

#[derive(Clone, PartialEq, Message)]
struct Sandboxes {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Sandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<SandboxName>,
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(string, tag = "7")]
    runtime_handler: String,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxName {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Containers {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Listed>,
}

#[derive(Clone, PartialEq, Message)]
struct Listed {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    sandbox: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, optional, tag = "2")]
    metadata: Option<ContainerName>,
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int64, tag = "5")]
    started_at: i64,
    #[prost(int64, tag = "6")]
    finished_at: i64,
    #[prost(int32, tag = "7")]
    exit_code: i32,
    #[prost(message, optional, tag = "8")]
    image: Option<ImageSpec>,
    #[prost(string, tag = "10")]
    reason: String,
    #[prost(string, tag = "11")]
    message: String,
    #[prost(string, tag = "15")]
    log_path: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerName {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

impl Cri {
    /// Every pod with its containers and their states, exit codes and reasons. Times are in
    /// nanoseconds since 1970.
    pub async fn containers(&self) -> Result<Value> {
        let path = "/runtime.v1.RuntimeService/ListPodSandbox";
        let pods: Sandboxes = self.daemon.call(path, Empty {}).await?;
        let path = "/runtime.v1.RuntimeService/ListContainers";
        let list: Containers = self.daemon.call(path, Empty {}).await?;
        let path = "/runtime.v1.RuntimeService/ContainerStatus";
        let mut of_pod: HashMap<String, Vec<Value>> = HashMap::new();
        for Listed { id, sandbox } in list.containers {
            let request = StatusRequest { id: id.clone() };
            // A container that is being removed at this moment is left out; the others are not.
            let answer: Result<StatusResponse> = self.daemon.call(path, request).await;
            let shown = match answer {
                Ok(answer) => container(&id, answer.status.unwrap_or_default()),
                Err(error) => json!({"id": id, "error": error.report()}),
            };
            of_pod.entry(sandbox).or_default().push(shown);
        }
        let pods = pods.items.into_iter().map(|pod| {
            let name = pod.metadata.unwrap_or_default();
            json!({
                "id": pod.id, "name": name.name, "namespace": name.namespace,
                "attempt": name.attempt, "created_at": pod.created_at,
                "runtime_handler": pod.runtime_handler,
                "state": if pod.state == 0 { "ready" } else { "not ready" },
                "containers": of_pod.remove(&pod.id).unwrap_or_default(),
            })
        });
        Ok(pods.collect())
    }
}

fn container(id: &str, status: Status) -> Value {
    let name = status.metadata.unwrap_or_default();
    let state = match status.state {
        0 => "created",
        1 => "running",
        2 => "exited",
        _ => "unknown",
    };
    json!({
        "id": id, "name": name.name, "attempt": name.attempt, "state": state,
        "image": status.image.unwrap_or_default().image, "exit_code": status.exit_code,
        "reason": status.reason, "message": status.message,
        "started_at": status.started_at, "finished_at": status.finished_at,
        "log_path": status.log_path,
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::node::recorded::shown;

    #[test]
    fn pods_and_containers_are_listed() {
        assert_snapshot!(shown::<Empty, Sandboxes>("RuntimeService.ListPodSandbox"));
        assert_snapshot!(shown::<Empty, Containers>("RuntimeService.ListContainers"));
        assert_snapshot!(shown::<StatusRequest, StatusResponse>(
            "RuntimeService.ContainerStatus"
        ));
    }
}
