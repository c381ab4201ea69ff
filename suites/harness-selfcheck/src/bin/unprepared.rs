//! Needs a small program that is built with Go, as a test does that nobody prepared anything for.

use anyhow::Result;
use kubenest::telemetry;
use kubenest_base::store::Store;
use kubenest_forge::component;
use kubenest_recipe::recipe::GoBuild;

#[tokio::main]
async fn main() -> Result<()> {
    telemetry::start();
    let build = GoBuild::find("kubenest/pause", "3.10")?;
    component::programs(&Store::of(kubenest::settings()), &build).await?;
    Ok(())
}
