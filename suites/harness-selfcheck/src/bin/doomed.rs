//! Creates a container, a network and a volume, prints `made`, and waits to be killed.
//!
//! `doomed SOCKET CLUSTER IMAGE SECONDS [GUARD-IMAGE [CACHE]]`: processes that cannot see this one
//! may remove its containers, networks and volumes after this many seconds. With a guard image
//! other than `-` it starts a guard; with a cache it holds the lease `l` there, to which everything
//! belongs.

use std::{
    collections::HashMap,
    io::{Write, stdin, stdout},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use harness_selfcheck::docker;
use kubenest::engine::Docker;
use kubenest_docker::{
    ContainerSpec, Guard, Labels, Lease, LeaseId, Owner, Ward,
    discover::{Endpoint, Origin},
    labels::BootId,
};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, cluster, image, seconds, more @ ..] = args.as_slice() else {
        bail!("doomed SOCKET CLUSTER IMAGE SECONDS [GUARD-IMAGE [CACHE]]");
    };
    let engine = Docker::at(
        &Endpoint::unix(socket, Origin::Embedded),
        kubenest::settings(),
    )
    .await?;
    let boot = BootId::random();
    let (owner, _holder) = match more.get(1) {
        Some(cache) => {
            let lease = Lease::of(Path::new(cache), LeaseId::new("l")?)?;
            let holder = lease.hold()?;
            (Owner::Lease(lease), Some(holder))
        }
        None => (Owner::current().clone(), None),
    };
    let ward = Ward::new(cluster, &boot).owner(&owner);
    let _guard = match more.first().filter(|image| *image != "-") {
        Some(image) => Some(Guard::start(&engine, image, &ward).await?),
        None => None,
    };
    let labels = Labels::new("selfcheck", &kubenest::settings().run)
        .owner(&owner)
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
