//! SPIRE in a cluster: server, agent and workload, in the namespace of a case.

use std::time::Duration;

use anyhow::Result;
use kubenest::{
    Case, k8s_openapi::api::core::v1::Pod, kube::api::ListParams, objects, wait::Probe,
};

use crate::svid::Svid;

const SERVER: &str = include_str!("../manifests/server.yaml");
const AGENT: &str = include_str!("../manifests/agent.yaml");
const WORKLOAD: &str = include_str!("../manifests/workload.yaml");

/// The identities that the server registers.
const NODE: &str = "spiffe://example.org/node";
/// That of the workload.
pub const WORKLOAD_ID: &str = "spiffe://example.org/workload";

/// Some seconds suffice on an idle machine: the agent asks the server for news every five.
const SOON: Duration = Duration::from_secs(120);

/// Creates the server alone; its pod needs the first of the loaded images.
pub async fn create_server(case: &Case<'_>) -> Result<()> {
    case.apply(in_namespace(SERVER, case)).await?;
    Ok(())
}

/// Waits until the kubelet says why it does not start the server; returns its reason.
pub async fn why_server_waits(case: &Case<'_>) -> Result<String> {
    let what = "the server's container to wait";
    let reason = objects::until(case.api::<Pod>(), "spire-server", what, SOON, |pod| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        let state = statuses.and_then(|all| all.first()?.state.as_ref()?.waiting.as_ref());
        let reason = state.and_then(|waiting| waiting.reason.clone());
        // It is being created before the kubelet looks for its image.
        let reason = reason.filter(|reason| reason != "ContainerCreating");
        Probe::from_option(reason, || pod.map(objects::seen).unwrap_or_default())
    });
    Ok(reason.await?)
}

/// Deploys SPIRE as its own test does, registers the workload, and starts it.
pub async fn deploy(case: &Case<'_>) -> Result<()> {
    create_server(case).await?;
    case.pod_ready("spire-server", SOON).await?;
    // The server has written its root certificate before it is Ready; the agent starts with it.
    case.apply(in_namespace(AGENT, case)).await?;
    wait_for_agent(case).await?;
    let namespace = case.namespace();
    let agent = format!("k8s_psat:agent_ns:{namespace}");
    register(case, &["-node", "-spiffeID", NODE, "-selector", &agent]).await?;
    let of_namespace = format!("k8s:ns:{namespace}");
    let selectors = [
        "-selector",
        &of_namespace,
        "-selector",
        "k8s:pod-name:workload",
    ];
    let identity = ["-parentID", NODE, "-spiffeID", WORKLOAD_ID];
    register(case, &[identity, selectors].concat()).await?;
    case.apply(WORKLOAD).await?;
    case.pod_ready("workload", SOON).await?;
    Ok(())
}

/// Waits until the workload gets an SVID from its agent.
pub async fn fetch_svid(case: &Case<'_>) -> Result<Svid> {
    let fetch = [
        "/opt/spire/bin/spire-agent",
        "api",
        "fetch",
        "x509",
        "-socketPath=/run/spire/sockets/agent.sock",
        "-output=json",
        "-timeout=20s",
    ];
    let answer = case.until("the workload's SVID", SOON, async || {
        match case.exec("workload", &fetch).await {
            Ok(output) if output.status == 0 => Probe::Ready(output.stdout),
            Ok(output) => Probe::Pending(format!("{}{}", output.text(), output.stderr)),
            Err(error) => Probe::Pending(error.report()),
        }
    });
    Svid::read(&answer.await?)
}

/// Removes the agent's pod, and waits for the next one.
pub async fn replace_agent(case: &Case<'_>) -> Result<()> {
    let old = wait_for_agent(case).await?;
    case.delete::<Pod>(&old).await?;
    case.gone::<Pod>(&old, SOON).await?;
    let new = wait_for_agent(case).await?;
    anyhow::ensure!(new != old, "the agent's pod is still {old}");
    Ok(())
}

/// Waits until the node's agent is Ready, which says that the server knows it; returns its pod.
async fn wait_for_agent(case: &Case<'_>) -> Result<String> {
    let (pods, params) = (
        case.api::<Pod>(),
        ListParams::default().labels("app=spire-agent"),
    );
    let found = case.until("the agent's pod", SOON, async || {
        let listed = objects::answer(|| "list the agent's pods".into(), pods.list(&params)).await;
        let name = listed.map(|pods| pods.items.into_iter().next()?.metadata.name);
        match name {
            Ok(name) => Probe::from_option(name, || "there is none".into()),
            Err(error) => Probe::Failed(error),
        }
    });
    let name = found.await?;
    case.pod_ready(&name, SOON).await?;
    Ok(name)
}

async fn register(case: &Case<'_>, entry: &[&str]) -> Result<()> {
    let create = ["/opt/spire/bin/spire-server", "entry", "create"];
    let command = [&create, entry].concat();
    let output = case.exec("spire-server", &command).await?;
    anyhow::ensure!(output.status == 0, "{}{}", output.text(), output.stderr);
    Ok(())
}

fn in_namespace(manifests: &str, case: &Case<'_>) -> String {
    manifests.replace("NAMESPACE", case.namespace())
}
