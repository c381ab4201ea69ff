//! Sweeps an engine, as every process does before a boot, and prints what it removed.
//!
//! `sweeping SOCKET [RUN]`: with a second argument, removes everything of that run.
#![expect(
    clippy::print_stdout,
    reason = "whoever started it waits for its lines"
)]

use anyhow::{Result, bail};
use kubenest::engine::Docker;
use kubenest_docker::{
    Scope,
    discover::{Endpoint, Origin},
    sweep,
};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (socket, scope) = match args.as_slice() {
        [socket] => (socket, Scope::DeadOwners),
        [socket, run] => (socket, Scope::Run(run)),
        _ => bail!("sweeping SOCKET [RUN]"),
    };
    let engine = Docker::at(
        &Endpoint::unix(socket, Origin::Embedded),
        kubenest::settings(),
    )
    .await?;
    let removed = sweep(&engine, scope).await?;
    for name in [removed.containers, removed.networks, removed.volumes].concat() {
        println!("{name}");
    }
    println!("{} images", removed.images.len());
    Ok(())
}
