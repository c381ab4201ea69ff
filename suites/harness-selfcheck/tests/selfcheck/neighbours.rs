//! Other tools work on the embedded engine, and their containers are not touched.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::process::Stdio;

use anyhow::{Context, Result};
use harness_selfcheck::{RECIPE, docker, on_own_engine};
use kubenest::{engine::Docker, recipe::Recipe};
use kubenest_base::store::Store;
use kubenest_docker::{ContainerSpec, Labels, Scope, sweep};
use kubenest_forge::component;
use kubenest_recipe::recipe::Content;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const RUNNING: [&str; 3] = ["ps", "--quiet", "--no-trunc"];

#[tokio::test]
async fn a_container_of_testcontainers_outlives_every_sweep() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = busybox(&engine).await?;
        let (mut neighbour, id) = start_neighbour(&engine, &image).await?;
        let own = ContainerSpec {
            name: "own".into(),
            image,
            labels: Labels::new("node", &kubenest::settings().run).map(),
            cmd: ["/bin/busybox", "sleep", "600"].map(str::to_owned).to_vec(),
            ..ContainerSpec::default()
        };
        engine.run(&own).await?;

        let removed = sweep(&engine, Scope::All).await?;
        assert_eq!(removed.containers, ["own"]);
        assert_eq!(docker(&engine, &RUNNING).await?, id);

        drop(neighbour.stdin.take());
        assert!(neighbour.wait().await?.success());
        assert_eq!(docker(&engine, &RUNNING).await?, "");
        Ok(())
    })
    .await
}

/// An image without any of kubenest's labels.
async fn busybox(engine: &Docker) -> Result<String> {
    let Content::Parts(parts) = Recipe::named(RECIPE)?.content else {
        anyhow::bail!("'{RECIPE}' has no parts")
    };
    let rootfs = component::provide(&Store::of(kubenest::settings()), &parts.proxy_os)
        .await?
        .rootfs();
    let rootfs = rootfs.to_str().context("the cache has a strange path")?;
    docker(engine, &["import", rootfs, "selfcheck/busybox:1"]).await?;
    Ok("selfcheck/busybox:1".to_owned())
}

/// Starts the neighbour; returns its process and its container's id.
async fn start_neighbour(engine: &Docker, image: &str) -> Result<(Child, String)> {
    #[expect(clippy::disallowed_methods, reason = "it stays while the test goes on")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_neighbour"));
    let mut child = command
        .arg(image)
        .env("DOCKER_HOST", engine.endpoint().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let id = lines.next_line().await?.context("the neighbour ended")?;
    Ok((child, id))
}
