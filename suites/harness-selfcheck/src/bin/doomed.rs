//! Makes a container, a network and a volume, says so, and waits to be killed.
//!
//! `doomed SOCKET CLUSTER IMAGE SECONDS [GUARD-IMAGE]`: others may remove what it made after so
//! many seconds, where they cannot see whether it lives; with a fifth argument it has a guard.

use std::{
    collections::HashMap,
    io::{Write, stdin, stdout},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use harness_selfcheck::docker;
use kubenest::engine::Docker;
use kubenest_docker::{
    ContainerSpec, Guard, Labels,
    discover::{Endpoint, Origin},
    labels::BootId,
};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (socket, cluster, image, seconds, guard_image) = match args.as_slice() {
        [socket, cluster, image, seconds] => (socket, cluster, image, seconds, None),
        [socket, cluster, image, seconds, guard] => (socket, cluster, image, seconds, Some(guard)),
        _ => bail!("doomed SOCKET CLUSTER IMAGE SECONDS [GUARD-IMAGE]"),
    };
    let engine = Docker::at(&Endpoint::unix(socket, Origin::Embedded)).await?;
    let boot = BootId::random();
    let _guard = match guard_image {
        Some(image) => Some(Guard::start(&engine, image, cluster, &boot, &[]).await?),
        None => None,
    };
    let labels = Labels::new("selfcheck")
        .cluster(cluster)
        .boot(&boot)
        .lifetime(Duration::from_secs(seconds.parse()?));
    make(&engine, cluster, image, labels.map()).await?;
    writeln!(stdout(), "made").context("say that all is made")?;
    stdin()
        .read_line(&mut String::new())
        .context("wait for the end")?;
    Ok(())
}

async fn make(
    engine: &Docker,
    cluster: &str,
    image: &str,
    labels: HashMap<String, String>,
) -> Result<()> {
    engine
        .create_network(&format!("{cluster}-net"), labels.clone())
        .await?;
    engine
        .run(&ContainerSpec {
            name: format!("{cluster}-box"),
            image: image.to_owned(),
            labels: labels.clone(),
            cmd: vec!["sleep".into(), "3600".into()],
            network: Some(format!("{cluster}-net")),
            volumes: vec!["/data".into()],
            ..ContainerSpec::default()
        })
        .await?;
    let labels: Vec<String> = labels
        .iter()
        .map(|(k, v)| format!("--label={k}={v}"))
        .collect();
    let mut args = vec!["volume", "create", "--name"];
    let name = format!("{cluster}-vol");
    args.push(&name);
    args.extend(labels.iter().map(String::as_str));
    docker(engine, &args).await?;
    Ok(())
}
