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
use crate::{making, names};

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
    start(settings.engine.release()).await
}

/// The embedded engine of this release, started if it does not run.
///
/// # Errors
/// It cannot be had or started on this machine.
pub async fn embedded(release: EngineRelease) -> Result<Docker> {
    if Some(release) != release_of_settings()? {
        making::note(&names::engine(release));
    }
    start(release).await
}

async fn start(release: EngineRelease) -> Result<Docker> {
    let address = Engine::embedded(release)?.ensure().await?;
    Docker::at(&Endpoint::unix(address.socket, Origin::Embedded)).await
}

/// The embedded engine that [`find`] gives, if it gives one.
pub(crate) fn release_of_settings() -> Result<Option<EngineRelease>> {
    let settings = settings();
    Ok(match settings.engine {
        EngineChoice::Embedded(release) => Some(release),
        EngineChoice::Host => None,
        EngineChoice::Auto => match discover(&settings.docker)? {
            Some(_) => None,
            None => Some(settings.engine.release()),
        },
    })
}

/// The embedded engine of the settings' cache that this connection leads to, if that is not
/// the one that [`find`] gives: a need has to name it.
pub(crate) fn named(docker: &Docker) -> Result<Option<EngineRelease>> {
    let Some(release) = shared_embedded(docker)? else {
        return Ok(None);
    };
    Ok(Some(release).filter(|release| Some(*release) != release_of_settings().ok().flatten()))
}

/// Whether the engine is one for all tests, and not a test's own.
pub(crate) fn is_shared(docker: &Docker) -> Result<bool> {
    let is_own = docker.endpoint().origin == Origin::Embedded && shared_embedded(docker)?.is_none();
    Ok(!is_own)
}

fn shared_embedded(docker: &Docker) -> Result<Option<EngineRelease>> {
    let endpoint = docker.endpoint();
    let (Origin::Embedded, Some(socket)) = (&endpoint.origin, endpoint.socket()) else {
        return Ok(None);
    };
    let shared = Engine::all()?;
    let shared = shared
        .iter()
        .find(|engine| engine.address().socket == socket);
    Ok(shared.map(Engine::release))
}
