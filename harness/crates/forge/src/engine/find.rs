//! The engine to use: the one that Docker's own clients would use, else the embedded one.

use kubenest_base::{
    Error, Result,
    settings::{EngineChoice, EngineRelease, settings},
};
use kubenest_docker::{
    Docker,
    discover::{Endpoint, Origin, discover},
};

use super::Engine;

/// The engine that Docker's own clients would use; without one, the embedded engine.
///
/// # Errors
/// An engine was named and does not answer, or there is none and none can be brought.
pub async fn find() -> Result<Docker> {
    let settings = settings();
    settings.check()?;
    if !matches!(settings.engine, EngineChoice::Embedded(_)) {
        if let Some(endpoint) = discover(&settings.docker)? {
            return Docker::at(&endpoint).await;
        }
        if settings.engine == EngineChoice::Host {
            return Err(Error::setup("there is no Docker engine on this machine")
                .cure("start one, or unset KUBENEST_ENGINE to have one brought"));
        }
    }
    embedded(settings.engine.release()).await
}

/// The embedded engine of this release, started if it does not run.
///
/// # Errors
/// It cannot be had or started on this machine.
pub async fn embedded(release: EngineRelease) -> Result<Docker> {
    let address = Engine::embedded(release)?.ensure().await?;
    Docker::at(&Endpoint::unix(address.socket, Origin::Embedded)).await
}
