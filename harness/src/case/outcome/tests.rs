//! Every source of an error that can end a body, and whose it is.

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

/// A test's own error, with one of the harness' as its source.
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

fn is_red(error: impl Into<anyhow::Error>) {
    let error = error.into();
    assert_eq!(verdict_of(&error), Verdict::Failed, "{error:#}");
}

fn is_broken(error: impl Into<anyhow::Error>) {
    let error = error.into();
    assert_eq!(verdict_of(&error), Verdict::Setup, "{error:#}");
    assert_eq!(reason(&error), "harness failed");
    // However it is handed on.
    let error = error
        .context("what the test needs")
        .context("its first part");
    assert_eq!(verdict_of(&error), Verdict::Setup, "{error:#}");
}

/// An API server that answers every request so.
fn answering(status: u16, answer: &Value) -> Client {
    let answer = answer.to_string();
    let service = tower::service_fn(move |_: Request<Body>| {
        let body = Body::from(answer.clone().into_bytes());
        let answer = Response::builder().status(status).body(body);
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    Client::new(service, "default")
}

/// An API server that is not there.
fn silent() -> Client {
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
fn what_the_body_says_itself_is_red() {
    fn ensure() -> anyhow::Result<()> {
        anyhow::ensure!(1 > 2, "the operator made no pod");
        Ok(())
    }
    is_red(ensure().unwrap_err());
    is_red(anyhow::anyhow!("the operator is gone"));
    is_red(std::io::Error::other("not the test's file"));
    is_red(serde_json::from_str::<Value>("{").unwrap_err());
    // In words alone it is handed on no more.
    is_red(anyhow::anyhow!("{:#}", Error::setup("no engine")));
}

#[test]
fn an_error_of_the_harness_that_is_handed_on_is_broken() {
    is_broken(Error::setup("exec in node 'a': no such container"));
    is_broken(Error::timeout("waited 30 s for containerd to answer"));
    is_broken(Error::refused(
        "image 'a' is gone right after it was loaded",
    ));
    is_broken(Error::not_found("no container 'a'"));
    is_broken(Error::input("no such file"));
    is_broken(Error::refused("the node is not well").because(Error::setup("no engine")));
    is_broken(Foreign(Error::timeout("waited for an exit status")));
    let wrapped = OwnContext::context(Err::<(), _>(Error::timeout("waited")), "ask the node");
    is_broken(wrapped.unwrap_err());
    let io = std::io::Error::other("connection reset");
    let wrapped = OwnContext::context(Err::<(), _>(io), "ask the engine");
    is_broken(wrapped.unwrap_err());
}

#[test]
fn what_a_test_asked_and_was_answered_is_red_however_it_is_handed_on() {
    let answer = || Error::timeout("waited 60 s for the pod").asserted();
    is_red(answer());
    is_red(Foreign(answer()));
    is_red(Error::setup("the operator").because(answer()));
    is_red(anyhow::Error::from(answer()).context("the operator"));
    is_red(answer().because(Error::setup("the machine is too slow")));
    let error = anyhow::Error::from(answer()).context("the operator");
    assert_eq!(reason(&error), "timed out");
    assert_eq!(reason(&anyhow::anyhow!("no")), "test failed");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_tests_own_condition_is_red_and_one_of_the_harness_is_broken() {
    let never = async || Probe::<()>::Pending("no".into());
    let work = || std::future::pending::<kubenest_base::Result<()>>();
    is_red(wait::until("the operator", SOON, never).await.unwrap_err());
    is_red(
        wait::within("the operator", SOON, work())
            .await
            .unwrap_err(),
    );
    use kubenest_base::wait as inner;
    is_broken(
        inner::until("an exit status", SOON, never)
            .await
            .unwrap_err(),
    );
    is_broken(inner::within("an answer", SOON, work()).await.unwrap_err());

    let lost = async || Probe::<()>::never("the operator ended");
    is_red(wait::until("the operator", SOON, lost).await.unwrap_err());
    let no_engine = || Error::setup("no engine");
    let broken = async || Probe::<()>::Failed(no_engine());
    is_broken(wait::until("the operator", SOON, broken).await.unwrap_err());
    let broken = async { Err::<(), _>(no_engine()) };
    is_broken(
        wait::within("the operator", SOON, broken)
            .await
            .unwrap_err(),
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_answers_is_red_and_its_silence_is_broken() {
    let object = ConfigMap::default();
    let refused = answering(403, &refusal());
    is_red(objects::create(&refused, "a", &object).await.unwrap_err());
    is_broken(objects::create(&silent(), "a", &object).await.unwrap_err());
    // A client of the test's own is its own.
    let own = |client: &Client| Api::<ConfigMap>::namespaced(client.clone(), "a");
    is_red(own(&refused).get("x").await.unwrap_err());
    is_red(own(&silent()).get("x").await.unwrap_err());

    is_red(objects::gone(own(&refused), "x", SOON).await.unwrap_err());
    is_broken(objects::gone(own(&silent()), "x", SOON).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ended_or_is_never_ready_is_red_and_one_nobody_tells_of_is_broken() {
    let pods = |phase: &str| {
        let pod = json!({"metadata": {"name": "p", "namespace": "a", "resourceVersion": "1"},
            "status": {"phase": phase}});
        let list = json!({"kind": "PodList", "apiVersion": "v1", "items": [pod],
            "metadata": {"resourceVersion": "1"}});
        answering(200, &list)
    };
    let ready = async |client: &Client| objects::pod_ready(client, "a", "p", SOON).await;
    let ended = ready(&pods("Failed")).await.unwrap_err();
    assert!(ended.to_string().contains("pod 'p' ended"), "{ended}");
    is_red(ended);
    is_broken(ready(&silent()).await.unwrap_err());
    is_red(ready(&answering(403, &refusal())).await.unwrap_err());
    let pod = Api::<Pod>::namespaced(pods("Pending"), "a");
    let never = objects::until(pod, "p", "the pod", SOON, |_| {
        Probe::<()>::Pending("no".into())
    });
    is_red(never.await.unwrap_err());
}
