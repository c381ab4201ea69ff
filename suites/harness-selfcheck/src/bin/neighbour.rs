//! A neighbour on the engine that `DOCKER_HOST` names: a container started by testcontainers,
//! which stays until standard input ends.
#![expect(clippy::print_stdout, reason = "it says which container it is")]

use anyhow::{Context, Result};
use testcontainers::{GenericImage, ImageExt, core::WaitFor, runners::AsyncRunner};

const SCRIPT: &str = "echo at home && exec sleep 600";

#[tokio::main]
async fn main() -> Result<()> {
    let image = std::env::args()
        .nth(1)
        .context("usage: neighbour IMAGE:TAG")?;
    let (name, tag) = image.rsplit_once(':').context("an image has a tag")?;
    let container = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::message_on_stdout("at home"))
        .with_cmd(["/bin/busybox", "sh", "-c", SCRIPT])
        .start()
        .await?;
    println!("{}", container.id());
    std::io::read_to_string(std::io::stdin())?;
    container.rm().await?;
    Ok(())
}
