//! An image of the engine into nodes: from its store where that can be read, else as it saves it.

use std::{sync::Arc, time::Instant};

use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    Loaded, deliver, export,
    files::{Archive, unpacked},
    layerdb::LayerDb,
    manifest::{Image, chains},
    reference::{Reference, is_digest},
    saved::{self, Layers},
    target::{Session, Target, Wanted},
};
use crate::{
    Context, Error, Result,
    docker::{Docker, EngineInfo, ImageInfo},
};

/// Loads the engine's image of this name or id, under `name` if there is one.
pub(super) async fn load(
    docker: &Docker,
    targets: &[Target],
    reference: &str,
    name: Option<&Reference>,
) -> Result<Loaded> {
    let since = Instant::now();
    // An id reads as a name too; what reads as neither is told before the engine is asked.
    Reference::parse(reference)?;
    let info = docker.image(reference).await?.ok_or_else(|| {
        Error::not_found(format!("the engine has no image '{reference}'"))
            .cure(format!("build it, or pull it: docker pull {reference}"))
    })?;
    let names = names(reference, name, &info)?;
    let wanted = Wanted {
        names: names.clone(),
        id: info.id.clone(),
        chain: chains(&info.layers)?.pop(),
    };
    let sessions = deliver::begin(targets, &wanted).await?;
    let blobs = info.layers.len() + 2;
    let nodes = if sessions.is_empty() {
        Vec::new()
    } else {
        send(docker, sessions, reference, &info, names.clone()).await?
    };
    Ok(deliver::report(targets, &names, blobs, nodes, since))
}

async fn send(
    docker: &Docker,
    sessions: Vec<Session<'_>>,
    reference: &str,
    info: &ImageInfo,
    names: Vec<String>,
) -> Result<Vec<super::NodeLoad>> {
    let engine = docker.info().await?;
    let found = match stored(docker, &engine, info).await {
        Some(found) => Ok(found),
        None => save(docker, &engine, &sessions, reference, info).await,
    };
    let (mut image, layers) = match found {
        Ok(found) => found,
        Err(error) => {
            deliver::give_up(&sessions).await;
            return Err(error);
        }
    };
    image.names = names;
    if info.id != image.config.blob.digest {
        image.origin = Some(info.id.clone());
    }
    deliver::deliver(sessions, image, layers).await
}

/// The image in the store of an engine on this machine.
async fn stored(
    docker: &Docker,
    engine: &EngineInfo,
    info: &ImageInfo,
) -> Option<(Image, Arc<dyn Layers>)> {
    docker.socket()?;
    let store = LayerDb::of(engine)?;
    let id = info.id.clone();
    let read = tokio::task::spawn_blocking(move || Ok((store.image(&id)?, store)));
    let read: Result<(Image, LayerDb)> = read.await.ok()?;
    match read {
        Ok((image, store)) => Some((image, Arc::new(store))),
        Err(error) => {
            tracing::debug!("not read from the engine's store: {}", error.report());
            None
        }
    }
}

/// The image as the engine saves it.
async fn save(
    docker: &Docker,
    engine: &EngineInfo,
    sessions: &[Session<'_>],
    reference: &str,
    info: &ImageInfo,
) -> Result<(Image, Arc<dyn Layers>)> {
    let platform = sessions
        .first()
        .map(|session| session.target.platform.clone());
    let platform = platform.expect("there must be a node");
    let stream = docker.save_stream(reference);
    let place = format!("image '{reference}' of the engine");
    let (images, saved) = if names_blobs(engine) {
        let memory = export::read(stream, sessions, &info.layers, place.clone()).await?;
        saved::read(Box::new(memory), &platform)?
    } else {
        // Names of entries say nothing of what is in them: all must be at hand at once.
        let reader = SyncIoBridge::new(StreamReader::new(stream));
        let path = place.clone();
        let read = tokio::task::spawn_blocking(move || {
            let archive = Archive::index(unpacked(reader)?, path.as_ref())?;
            saved::read(Box::new(archive), &platform)
        });
        read.await.context("read an image")??
    };
    let mut images = images.into_iter();
    match (images.next(), images.next()) {
        (Some(image), None) => Ok((image, Arc::new(saved))),
        _ => Err(Error::setup(format!("{place} is not one image"))),
    }
}

/// Whether the engine saves blobs under their digests.
fn names_blobs(engine: &EngineInfo) -> bool {
    let major = engine.version.split('.').next();
    let major = major.and_then(|major| major.parse::<u32>().ok());
    engine.containerd_store || major.is_some_and(|major| major >= 25)
}

/// The names that the image gets in nodes.
fn names(reference: &str, name: Option<&Reference>, info: &ImageInfo) -> Result<Vec<String>> {
    if let Some(name) = name {
        return Ok(vec![name.to_string()]);
    }
    let is_id = is_digest(reference)
        || (info.id.contains(reference) && !info.tags.iter().any(|tag| tag.contains(reference)));
    if !is_id {
        return Ok(vec![Reference::parse(reference)?.to_string()]);
    }
    let tags = info.tags.iter();
    let names = tags
        .map(|tag| Ok(Reference::parse(tag)?.to_string()))
        .collect::<Result<Vec<_>>>()?;
    if names.is_empty() {
        return Err(Error::input(format!("image '{reference}' has no name"))
            .cure("give it one that pods can use: Source::named(\"name:tag\")"));
    }
    Ok(names)
}
