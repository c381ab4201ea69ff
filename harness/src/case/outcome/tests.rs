//! Every kind of error that can end a body, and its verdict.

use std::{convert::Infallible, fmt, time::Duration};

use http::{Request, Response};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client, client::Body};
use serde_json::{Value, json};

use super::*;
use crate::wait::{self, Probe};
use kubenest_base::Context as OwnContext;
use kubenest_node::objects;

const SOON: Duration = Duration::from_secs(5);

/// A test's own error type, with an error of the harness as its source.
#[derive(Debug)]
struct Foreign(Error);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operator's client")
    }
}

impl std::error::Error for Foreign {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn assert_failed(error: impl Into<anyhow::Error>) {
    let error = error.into();
    assert_eq!(verdict_of(&error), Verdict::Failed, "{error:#}");
}

fn assert_broken(error: impl Into<anyhow::Error>) {
    let error = error.into();
    assert_eq!(verdict_of(&error), Verdict::Setup, "{error:#}");
    assert_eq!(reason(&error), "harness failed");
    // Added context does not change that.
    let error = error
        .context("what the test needs")
        .context("its first part");
    assert_eq!(verdict_of(&error), Verdict::Setup, "{error:#}");
}

/// A client of an API server that gives this answer to every request.
fn answering_server(status: u16, answer: &Value) -> Client {
    let answer = answer.to_string();
    let service = tower::service_fn(move |_: Request<Body>| {
        let body = Body::from(answer.clone().into_bytes());
        let answer = Response::builder().status(status).body(body);
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    Client::new(service, "default")
}

/// A client of an API server that is not there.
fn silent_server() -> Client {
    let service = tower::service_fn(|_: Request<Body>| async {
        Err::<Response<Body>, _>(std::io::Error::other("connection refused"))
    });
    Client::new(service, "default")
}

fn refusal() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
        "reason": "Forbidden", "message": "the operator's webhook says no"})
}

#[test]
fn errors_of_the_body_itself_are_failures() {
    fn ensure() -> anyhow::Result<()> {
        anyhow::ensure!(1 > 2, "the operator made no pod");
        Ok(())
    }
    assert_failed(ensure().unwrap_err());
    assert_failed(anyhow::anyhow!("the operator is gone"));
    assert_failed(std::io::Error::other("not the test's file"));
    assert_failed(serde_json::from_str::<Value>("{").unwrap_err());
    // As text alone, the error of kubenest is no longer in the chain.
    assert_failed(anyhow::anyhow!("{:#}", Error::setup("no engine")));
}

#[test]
fn a_returned_error_of_the_harness_is_broken() {
    assert_broken(Error::setup("exec in node 'a': no such container"));
    assert_broken(Error::timeout("waited 30 s for containerd to answer"));
    assert_broken(Error::refused(
        "image 'a' is gone right after it was loaded",
    ));
    assert_broken(Error::not_found("no container 'a'"));
    assert_broken(Error::input("no such file"));
    assert_broken(Error::refused("the node is not well").because(Error::setup("no engine")));
    assert_broken(Foreign(Error::timeout("waited for an exit status")));
    let wrapped = OwnContext::context(Err::<(), _>(Error::timeout("waited")), "ask the node");
    assert_broken(wrapped.unwrap_err());
    let io = std::io::Error::other("connection reset");
    let wrapped = OwnContext::context(Err::<(), _>(io), "ask the engine");
    assert_broken(wrapped.unwrap_err());
}

#[test]
fn an_asserted_error_is_a_failure_also_in_context_or_as_a_cause() {
    let answer = || Error::timeout("waited 60 s for the pod").asserted();
    assert_failed(answer());
    assert_failed(Foreign(answer()));
    assert_failed(Error::setup("the operator").because(answer()));
    assert_failed(anyhow::Error::from(answer()).context("the operator"));
    assert_failed(answer().because(Error::setup("the machine is too slow")));
    let error = anyhow::Error::from(answer()).context("the operator");
    assert_eq!(reason(&error), "timed out");
    assert_eq!(reason(&anyhow::anyhow!("no")), "test failed");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_the_test_is_a_failure_and_one_of_the_harness_is_broken() {
    let never = async || Probe::<()>::Pending("no".into());
    let work = || std::future::pending::<kubenest_base::Result<()>>();
    assert_failed(wait::until("the operator", SOON, never).await.unwrap_err());
    assert_failed(
        wait::within("the operator", SOON, work())
            .await
            .unwrap_err(),
    );
    use kubenest_base::wait as inner;
    assert_broken(
        inner::until("an exit status", SOON, never)
            .await
            .unwrap_err(),
    );
    assert_broken(inner::within("an answer", SOON, work()).await.unwrap_err());

    let lost = async || Probe::<()>::never("the operator ended");
    assert_failed(wait::until("the operator", SOON, lost).await.unwrap_err());
    let no_engine = || Error::setup("no engine");
    let broken = async || Probe::<()>::Failed(no_engine());
    assert_broken(wait::until("the operator", SOON, broken).await.unwrap_err());
    let broken = async { Err::<(), _>(no_engine()) };
    assert_broken(
        wait::within("the operator", SOON, broken)
            .await
            .unwrap_err(),
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_api_server_is_a_failure_and_its_silence_is_broken() {
    let object = ConfigMap::default();
    let refused = answering_server(403, &refusal());
    assert_failed(objects::create(&refused, "a", &object).await.unwrap_err());
    assert_broken(
        objects::create(&silent_server(), "a", &object)
            .await
            .unwrap_err(),
    );
    // All errors of the test's own client count as the test's.
    let own = |client: &Client| Api::<ConfigMap>::namespaced(client.clone(), "a");
    assert_failed(own(&refused).get("x").await.unwrap_err());
    assert_failed(own(&silent_server()).get("x").await.unwrap_err());

    assert_failed(objects::gone(own(&refused), "x", SOON).await.unwrap_err());
    assert_broken(
        objects::gone(own(&silent_server()), "x", SOON)
            .await
            .unwrap_err(),
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_never_ready_is_a_failure_and_a_silent_api_server_is_broken() {
    let pods = |phase: &str| {
        let pod = json!({"metadata": {"name": "p", "namespace": "a", "resourceVersion": "1"},
            "status": {"phase": phase}});
        let list = json!({"kind": "PodList", "apiVersion": "v1", "items": [pod],
            "metadata": {"resourceVersion": "1"}});
        answering_server(200, &list)
    };
    let ready = async |client: &Client| objects::pod_ready(client, "a", "p", SOON).await;
    let ended = ready(&pods("Failed")).await.unwrap_err();
    assert!(ended.to_string().contains("pod 'p' ended"), "{ended}");
    assert_failed(ended);
    assert_broken(ready(&silent_server()).await.unwrap_err());
    assert_failed(ready(&answering_server(403, &refusal())).await.unwrap_err());
    let pod = Api::<Pod>::namespaced(pods("Pending"), "a");
    let never = objects::until(pod, "p", "the pod", SOON, |_| {
        Probe::<()>::Pending("no".into())
    });
    assert_failed(never.await.unwrap_err());
}
