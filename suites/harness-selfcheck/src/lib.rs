//! Helpers of the tests that look at clusters from outside; see `tests/`.

use anyhow::Result;
use kubenest::{
    docker::{Docker, labels},
    engine,
    process::Command,
};

/// The recipe of clusters whose test is about no version.
pub const RECIPE: &str = "v1.32.1-containerd-2.0.2";

/// Runs a `docker` command against an engine: a witness that shares no code with kubenest.
pub async fn docker(engine: &Docker, args: &[&str]) -> Result<String> {
    let mut command = Command::new(engine::cli().await?).args(args);
    for (name, value) in engine.endpoint().variables() {
        command = command.env(name, value);
    }
    Ok(command.run().await?.stdout.trim().to_owned())
}

/// The containers, networks and volumes that bear the label of this cluster.
pub async fn left_of(engine: &Docker, cluster: &str) -> Result<Vec<String>> {
    labelled(engine, &format!("{}={cluster}", labels::CLUSTER)).await
}

/// The containers, networks and volumes that bear this label.
pub async fn labelled(engine: &Docker, label: &str) -> Result<Vec<String>> {
    let filter = format!("label={label}");
    let containers = ["ps", "--all", "--format", "{{.Names}}", "--filter", &filter];
    let networks = [
        "network",
        "ls",
        "--format",
        "{{.Name}}",
        "--filter",
        &filter,
    ];
    let volumes = ["volume", "ls", "--quiet", "--filter", &filter];
    let mut found = Vec::new();
    for list in [containers.as_slice(), &networks, &volumes] {
        found.extend(docker(engine, list).await?.lines().map(str::to_owned));
    }
    Ok(found)
}
