//! Tests whose client is this project's own, of another kube than kubenest's. What else they need
//! kubenest gives without a type of kube's.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::Client;
use kubenest::Case;
use older_kube::{NOTE, client_from, note};

/// For what happens in seconds, also on a slow machine.
const SOON: Duration = Duration::from_secs(60);

#[kubenest::test(client = client_from)]
async fn what_is_there_is_noted(case: Case, client: Client) -> Result<()> {
    for name in ["one", "two"] {
        let map = format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}");
        case.apply(map).await?;
    }
    // Every namespace has one of its own, with the cluster's certificate.
    let seen = note(client).await?;
    ensure!(seen == 3, "it has seen {seen}");
    case.wait_for_field("ConfigMap", NOTE, ".data.seen", "3", SOON)
        .await?;
    Ok(())
}

#[kubenest::test(client = client_from)]
async fn the_namespace_of_the_client_is_the_cases(case: Case, client: Client) -> Result<()> {
    ensure!(client.default_namespace() == case.namespace());
    Ok(())
}
