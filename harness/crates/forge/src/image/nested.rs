//! The images for a Docker engine in a pod: the engine's own, and the one that its pod starts with.

use std::path::Path;

use kubenest_base::{
    Context, Error, Result, digest::sha256_hex, lock::FileLock, progress, store::Store,
};
use kubenest_docker::Docker;
use kubenest_recipe::recipe::{Content, Parts, Recipe};

use super::{archive::ImageSpec, layer::Layer, resolve::RECIPE, small::busybox};
use crate::{component, engine};

/// The role of both images in their labels.
const ROLE: &str = "engine-image";

/// An image that an engine has.
#[derive(Debug, Clone)]
pub struct NestedImage {
    /// Its name.
    pub reference: String,
    /// Its id, `sha256:…`.
    pub id: String,
}

/// The image of a Docker engine: the OS of a node, and Docker's own programs, which are those of the
/// embedded engine.
///
/// # Errors
/// A part cannot be fetched, or the engine refuses the image.
pub async fn nested_engine(docker: &Docker) -> Result<NestedImage> {
    let store = &Store::of(docker.settings());
    let parts = donor()?;
    let (programs, packages) = engine::programs_for_pod(docker.settings()).await?;
    let os = component::part(store, &parts.os).await?;
    let hash = sha256_hex(format!("{} {packages}", os.hash).as_bytes());
    ensure(
        docker,
        &format!("kubenest/engine:{}", &hash[..32]),
        async || {
            let key = format!("{}-{}", parts.os.role.name(), &os.hash[..16]);
            let os = Layer::cached(store, &key, async |layer| {
                layer.archive(&os.rootfs(), |path| Some(path.to_owned()))
            });
            let of_files = format!("engine-{}", &hash[..16]);
            let files = Layer::cached(store, &of_files, async |layer| {
                programs.iter().try_for_each(|program| {
                    let name = program.file_name().unwrap_or_default();
                    layer.program(&Path::new("usr/local/bin").join(name), program)
                })
            });
            let layers = vec![os.await?, files.await?];
            Ok((layers, vec!["/usr/local/bin/dockerd".to_owned()]))
        },
    )
    .await
}

/// An image of one program, busybox, with which the pod of an engine starts.
///
/// # Errors
/// The program cannot be fetched, or the engine refuses the image.
pub async fn nested_pod(docker: &Docker) -> Result<NestedImage> {
    let layer = busybox(&Store::of(docker.settings())).await?;
    let tag = layer.diff_id.trim_start_matches("sha256:")[..32].to_owned();
    ensure(docker, &format!("kubenest/pod:{tag}"), async || {
        Ok((vec![layer], vec!["/bin/busybox".to_owned()]))
    })
    .await
}

/// The image of this name; `make` gives its layers and its entry point if the engine lacks it.
async fn ensure(
    docker: &Docker,
    reference: &str,
    make: impl AsyncFnOnce() -> Result<(Vec<Layer>, Vec<String>)>,
) -> Result<NestedImage> {
    let found = async || {
        let found = docker.image(reference).await?;
        Result::Ok(found.map(|found| NestedImage {
            reference: reference.to_owned(),
            id: found.id,
        }))
    };
    if let Some(found) = found().await? {
        return Ok(found);
    }
    let name = reference.replace(['/', ':'], "-");
    let lock = docker.settings().cache.join("locks");
    let lock = lock.join(format!("image-{name}.lock"));
    let _lock = FileLock::exclusive(&lock, reference).await?;
    if let Some(found) = found().await? {
        return Ok(found);
    }
    progress!("making image {reference}, for engines in pods");
    let (layers, entrypoint) = make().await?;
    let spec = ImageSpec {
        tags: vec![reference.to_owned()],
        layers,
        labels: docker.labels(ROLE).keep(true).map().into_iter().collect(),
        entrypoint,
        ..ImageSpec::default()
    };
    spec.load(docker).await?;
    found()
        .await?
        .ok_or_else(|| Error::setup("the engine does not have it"))
        .with_context(|| format!("load image '{reference}'"))
}

/// The recipe whose OS the image has.
fn donor() -> Result<Parts> {
    match Recipe::named(RECIPE)?.content {
        Content::Parts(parts) => Ok(*parts),
        Content::Image(_) => Err(Error::input(format!("recipe '{RECIPE}' has no parts"))),
    }
}
