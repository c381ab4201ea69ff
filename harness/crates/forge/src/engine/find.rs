//! The engine to use: the one that Docker's own clients would use, else the embedded one.

use std::{collections::BTreeMap, sync::Arc};

use kubenest_base::{
    Error, Result,
    settings::{EngineChoice, EngineRelease, Settings},
};
use kubenest_docker::{
    Docker,
    discover::{Endpoint, Origin, discover},
};

use super::Engine;
use crate::{making, names};

/// The engine that Docker's own clients would use, or else the embedded engine. The connection
/// keeps these settings for everything that is done through it.
///
/// # Errors
/// A named engine does not answer, or there is no engine and none can be started.
pub async fn find(settings: &Arc<Settings>) -> Result<Docker> {
    settings.check()?;
    if !matches!(settings.engine, EngineChoice::Embedded(_)) {
        if let Some(endpoint) = discover(&settings.docker)? {
            return Docker::at(&endpoint, settings).await;
        }
        if settings.engine == EngineChoice::Host {
            return Err(Error::setup("there is no Docker engine on this machine")
                .cure("start one, or unset KUBENEST_ENGINE to have one brought"));
        }
    }
    start(settings.engine.release(), settings).await
}

/// The embedded engine of this release, started if it does not run.
///
/// # Errors
/// The engine cannot be fetched, built or started on this machine.
pub async fn embedded(release: EngineRelease, settings: &Arc<Settings>) -> Result<Docker> {
    if Some(release) != release_of_settings(settings)? {
        making::note(&names::engine(release));
    }
    start(release, settings).await
}

async fn start(release: EngineRelease, settings: &Arc<Settings>) -> Result<Docker> {
    let address = Engine::embedded(release, settings)?.ensure().await?;
    let endpoint = Endpoint::unix(address.socket, Origin::Embedded);
    Docker::at(&endpoint, settings).await
}

/// The embedded engine that [`find`] would return, if it would return one.
pub(crate) fn release_of_settings(settings: &Settings) -> Result<Option<EngineRelease>> {
    Ok(match settings.engine {
        EngineChoice::Embedded(release) => Some(release),
        EngineChoice::Host => None,
        EngineChoice::Auto => match discover(&settings.docker)? {
            Some(_) => None,
            None => Some(settings.engine.release()),
        },
    })
}

/// The variables by which other tools find the embedded engine, if [`find`] would return one and
/// the user's environment names no engine. The choice of engine is one of them: otherwise
/// `DOCKER_HOST` would make it.
pub(crate) fn variables(settings: &Arc<Settings>) -> Result<BTreeMap<String, String>> {
    let Some(release) = release_of_settings(settings)? else {
        return Ok(BTreeMap::new());
    };
    if settings.docker.host.is_some() {
        return Ok(BTreeMap::new());
    }
    let address = Engine::embedded(release, settings)?.address();
    let choice = names::engine_word(release).to_owned();
    Ok([
        ("DOCKER_HOST".to_owned(), address.docker_host()),
        ("KUBENEST_ENGINE".to_owned(), choice),
    ]
    .into())
}

/// The embedded engine of this connection, if [`find`] would return another one, so that a need has
/// to name the engine. Only engines in the settings' cache count.
pub(crate) fn named(docker: &Docker) -> Result<Option<EngineRelease>> {
    let Some(release) = shared_embedded(docker)? else {
        return Ok(None);
    };
    let found = release_of_settings(docker.settings()).ok().flatten();
    Ok(Some(release).filter(|release| Some(*release) != found))
}

/// Whether all tests share the engine, so that it is not one test's own.
pub(crate) fn is_shared(docker: &Docker) -> Result<bool> {
    let is_own = docker.endpoint().origin == Origin::Embedded && shared_embedded(docker)?.is_none();
    Ok(!is_own)
}

fn shared_embedded(docker: &Docker) -> Result<Option<EngineRelease>> {
    let endpoint = docker.endpoint();
    let (Origin::Embedded, Some(socket)) = (&endpoint.origin, endpoint.socket()) else {
        return Ok(None);
    };
    let shared = Engine::all(docker.settings())?;
    let shared = shared
        .iter()
        .find(|engine| engine.address().socket == socket);
    Ok(shared.map(Engine::release))
}
