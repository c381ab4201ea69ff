//! Loads an archive into a node; the test kills it during the load.
//!
//! `loading NODE ARCHIVE`

use anyhow::{Result, bail};
use kubenest::{
    images::{ImageSource, Images},
    node::{Node, Role},
};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [node, archive] = args.as_slice() else {
        bail!("loading NODE ARCHIVE")
    };
    let docker = kubenest::engine::find().await?;
    let node = Node::attach(&docker, node, Role::ControlPlane).await?;
    Images::of(&docker, &[node])
        .load(ImageSource::archive(archive))
        .await?;
    Ok(())
}
