//! Makes a container, a network and a volume, says so, and waits to be killed.
//!
//! `doomed SOCKET CLUSTER IMAGE [GUARD-IMAGE]`: with a fourth argument it has a guard.

use std::io::{Write, stdin, stdout};

use anyhow::{Context, Result, bail};
use harness_selfcheck::docker;
use kubenest::docker::{
    ContainerSpec, Docker, Guard, Labels,
    discover::{Endpoint, Origin},
};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (socket, cluster, image, guard_image) = match args.as_slice() {
        [socket, cluster, image] => (socket, cluster, image, None),
        [socket, cluster, image, guard] => (socket, cluster, image, Some(guard)),
        _ => bail!("doomed SOCKET CLUSTER IMAGE [GUARD-IMAGE]"),
    };
    let engine = Docker::at(&Endpoint::unix(socket, Origin::Embedded)).await?;
    let _guard = match guard_image {
        Some(image) => Some(Guard::start(&engine, image, cluster, &[]).await?),
        None => None,
    };
    make(&engine, cluster, image).await?;
    writeln!(stdout(), "made").context("say that all is made")?;
    stdin()
        .read_line(&mut String::new())
        .context("wait for the end")?;
    Ok(())
}

async fn make(engine: &Docker, cluster: &str, image: &str) -> Result<()> {
    let labels = Labels::new("selfcheck").cluster(cluster).map();
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
