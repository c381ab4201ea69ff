//! Loads an image of the engine into nodes: read from the engine's store where possible, else as
//! the engine saves it.

use std::{sync::Arc, time::Instant};

use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    Load,
    content::Content,
    deliver, export,
    files::{Archive, unpack_to_file},
    layerdb::LayerDb,
    manifest::{Image, chains, runs_on, show},
    reference::{Reference, is_digest},
    saved::{self, Layers},
    target::{ImageKey, Session, Target},
};
use kubenest_base::{Context, Error, ErrorKind, Result};
use kubenest_docker::{Docker, EngineInfo, ImageInfo};
use kubenest_node::node::containerd::Platform;

/// Loads the engine's image of this name or id, under `name` if there is one.
pub(super) async fn load(
    docker: &Docker,
    targets: &[Target],
    reference: &str,
    name: Option<&Reference>,
) -> Result<Load> {
    let since = Instant::now();
    let info = image(docker, reference).await?;
    let names = names(reference, name, &info)?;
    let wanted = ImageKey {
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

/// The engine's image of this name or id, with all its layers, under `name` if there is one.
pub(super) async fn image_with_layers(
    docker: &Docker,
    platform: &Platform,
    reference: &str,
    name: Option<&Reference>,
) -> Result<ImageWithLayers> {
    let info = image(docker, reference).await?;
    let names = names(reference, name, &info)?;
    let engine = docker.info().await?;
    let near = match docker.socket() {
        Some(_) => stored(&engine, &info, platform).await?,
        None => None,
    };
    let (mut image, layers) = match near {
        Some(found) => found,
        None => save_to_file(docker, &engine, platform, reference).await?,
    };
    image.names = names;
    check_platform(image, layers, platform)
}

async fn image(docker: &Docker, reference: &str) -> Result<ImageInfo> {
    // An id parses as a name too. A text that is neither is refused before the engine is asked.
    Reference::parse(reference)?;
    docker.image(reference).await?.ok_or_else(|| {
        Error::not_found(format!("the engine has no image '{reference}'"))
            .cure(format!("build it, or pull it: docker pull {reference}"))
    })
}

async fn send(
    docker: &Docker,
    sessions: Vec<Session<'_>>,
    reference: &str,
    info: &ImageInfo,
    names: Vec<String>,
) -> Result<Vec<super::NodeLoad>> {
    let (mut image, layers) = match find(docker, &sessions, reference, info).await {
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

pub(super) type ImageWithLayers = (Image, Arc<dyn Layers>);

async fn find(
    docker: &Docker,
    sessions: &[Session<'_>],
    reference: &str,
    info: &ImageInfo,
) -> Result<ImageWithLayers> {
    let engine = docker.info().await?;
    let session = sessions.first().expect("there must be a node");
    let platform = &session.target.platform;
    let near = match docker.socket() {
        Some(_) => stored(&engine, info, platform).await?,
        None => None,
    };
    let (image, layers) = match near {
        Some(found) => found,
        None => save(docker, &engine, sessions, reference, info).await?,
    };
    check_platform(image, layers, platform)
}

fn check_platform(
    image: Image,
    layers: Arc<dyn Layers>,
    platform: &Platform,
) -> Result<ImageWithLayers> {
    if runs_on(&image.platform, platform) {
        return Ok((image, layers));
    }
    let other = show(&image.platform);
    Err(saved::wrong_platform(&layers.place(), platform, &[other]))
}

/// The image in the store of an engine on this machine; `None` if the engine has to save it.
async fn stored(
    engine: &EngineInfo,
    info: &ImageInfo,
    platform: &Platform,
) -> Result<Option<ImageWithLayers>> {
    let one_copy = engine.containerd_store;
    let (engine, id, platform) = (engine.clone(), info.id.clone(), platform.clone());
    let read = tokio::task::spawn_blocking(move || -> Result<Option<ImageWithLayers>> {
        if let Some(content) = Content::of(&engine, &id)? {
            let (image, saved) = saved::read_one(Box::new(content), &platform)?;
            return Ok(Some((image, Arc::new(saved))));
        }
        let Some(store) = LayerDb::of(&engine) else {
            return Ok(None);
        };
        Ok(Some((store.image(&id)?, Arc::new(store))))
    });
    match read.await.context("read the engine's store")? {
        // Saving would not help: the engine would send the same blobs.
        Err(error) if one_copy && error.kind() == ErrorKind::Input => Err(error),
        Err(error) => {
            tracing::debug!("not read from the engine's store: {}", error.report());
            Ok(None)
        }
        found => found,
    }
}

/// The image as the engine saves it.
async fn save(
    docker: &Docker,
    engine: &EngineInfo,
    sessions: &[Session<'_>],
    reference: &str,
    info: &ImageInfo,
) -> Result<ImageWithLayers> {
    let platform = sessions
        .first()
        .map(|session| session.target.platform.clone());
    let platform = platform.expect("there must be a node");
    if !names_blobs(engine) {
        // The names of entries do not say what is in them, so all entries must be at hand at once.
        return save_to_file(docker, engine, &platform, reference).await;
    }
    let stream = docker.save_stream(reference, one_platform(engine, &platform).as_deref());
    let memory = export::read(stream, sessions, &info.layers, place(reference)).await?;
    let (image, saved) = saved::read_one(Box::new(memory), &platform)?;
    Ok((image, Arc::new(saved)))
}

/// The image as the engine saves it, in a file of the cache.
async fn save_to_file(
    docker: &Docker,
    engine: &EngineInfo,
    platform: &Platform,
    reference: &str,
) -> Result<ImageWithLayers> {
    let stream = docker.save_stream(reference, one_platform(engine, platform).as_deref());
    let reader = SyncIoBridge::new(StreamReader::new(stream));
    let (scratch, platform) = (docker.settings().cache.clone(), platform.clone());
    let place = place(reference);
    let read = tokio::task::spawn_blocking(move || {
        let archive = Archive::index(unpack_to_file(reader, &scratch)?, place.as_ref())?;
        saved::read_one(Box::new(archive), &platform)
    });
    let (image, saved) = read.await.context("read an image")??;
    Ok((image, Arc::new(saved)))
}

/// The platform to ask for, where the engine may have several.
fn one_platform(engine: &EngineInfo, platform: &Platform) -> Option<String> {
    engine.containerd_store.then(|| show(platform))
}

fn place(reference: &str) -> String {
    format!("image '{reference}' of the engine")
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
            .cure("give it one that pods can use: ImageSource::with_name(\"name:tag\")"));
    }
    Ok(names)
}
