//! Saved images: what a docker-archive or an OCI layout says of itself, for one platform.

use std::{collections::HashMap, io::Read};

use sha2::{Digest, Sha256};

use super::{
    files::{Files, Reader, blob_name, compression},
    manifest::{
        Config, Descriptor, DockerImage, Image, Index, Json, Layer, Manifest, broken, parse,
        runs_on, show,
    },
    reference::{Reference, is_digest},
};
use crate::{
    Context, Error, Result,
    node::containerd::Platform,
    recipe::{hex, sha256_hex},
};

/// Where the bytes of layers come from.
pub(super) trait Layers: Send + Sync {
    /// The bytes of a layer; `None` when this place lacks them.
    fn open(&self, layer: &Layer) -> Result<Option<Reader<'_>>>;

    /// Where they are, for messages.
    fn place(&self) -> String;
}

/// Images in files.
pub(super) struct Saved {
    files: Box<dyn Files>,
    /// Digests of layers whose files have other names than layouts give them.
    names: HashMap<String, String>,
}

/// An index within an index is rare, and within that one an attack.
const DEPTH: usize = 3;

impl Layers for Saved {
    fn open(&self, layer: &Layer) -> Result<Option<Reader<'_>>> {
        let digest = &layer.blob.digest;
        let name = self.names.get(digest);
        let name = name.cloned().unwrap_or_else(|| blob_name(digest));
        let Some((size, reader)) = self.files.open(&name)? else {
            return Ok(None);
        };
        if i64::try_from(size) == Ok(layer.blob.size) {
            return Ok(Some(reader));
        }
        let (place, wanted) = (self.files.place(), layer.blob.size);
        Err(broken(format!(
            "layer {digest} of {place} has {size} bytes, not {wanted}"
        )))
    }

    fn place(&self) -> String {
        self.files.place()
    }
}

/// As [`read`], of files that must have one image.
pub(super) fn read_one(files: Box<dyn Files>, platform: &Platform) -> Result<(Image, Saved)> {
    let place = files.place();
    let (images, saved) = read(files, platform)?;
    match <[Image; 1]>::try_from(images) {
        Ok([image]) => Ok((image, saved)),
        Err(_) => Err(Error::setup(format!("{place} is not one image"))),
    }
}

/// The images in `files` for this platform.
pub(super) fn read(files: Box<dyn Files>, platform: &Platform) -> Result<(Vec<Image>, Saved)> {
    let place = files.place();
    let index = files.json("index.json")?;
    let docker = files.json("manifest.json")?;
    let docker: Option<Vec<DockerImage>> = docker
        .map(|bytes| parse(&bytes, &format!("'manifest.json' of {place}")))
        .transpose()?;
    let mut names = HashMap::new();
    let images = match (index, docker) {
        (Some(index), docker) => {
            let index: Index = parse(&index, &format!("'index.json' of {place}"))?;
            layout(&*files, &index, &docker.unwrap_or_default(), platform)?
        }
        (None, Some(docker)) => docker
            .iter()
            .map(|image| docker_image(&*files, image, &mut names))
            .collect::<Result<_>>()?,
        (None, None) => {
            return Err(Error::input(format!(
                "{place} has neither 'index.json' nor 'manifest.json'"
            ))
            .cure("load what `docker save` writes, or an OCI layout"));
        }
    };
    for image in &images {
        if !runs_on(&image.platform, platform) {
            return Err(wrong_platform(&place, platform, &[show(&image.platform)]));
        }
    }
    Ok((images, Saved { files, names }))
}

/// The images of an OCI layout; `docker` has names that older tools write beside it.
fn layout(
    files: &dyn Files,
    index: &Index,
    docker: &[DockerImage],
    platform: &Platform,
) -> Result<Vec<Image>> {
    let mut images: Vec<Image> = Vec::new();
    let mut others = Vec::new();
    for found in &index.manifests {
        let Some(manifest) = pick(files, found, platform, DEPTH, &mut others)? else {
            continue;
        };
        let told: Manifest = parse(&manifest.bytes, "the manifest")?;
        let config = blob(files, &told.config)?.ok_or_else(|| {
            broken(format!(
                "{} lacks the configuration {}",
                files.place(),
                told.config.digest
            ))
        })?;
        let mut image = Image::new(manifest, config)?;
        if !runs_on(&image.platform, platform) {
            others.push(show(&image.platform));
            continue;
        }
        let file = blob_name(&image.config.blob.digest);
        let tags = docker.iter().filter(|image| image.config == file);
        let tags = tags.flat_map(|image| image.repo_tags.iter().flatten());
        let names = names(found).into_iter().chain(tags.cloned());
        image = image.also_named(spelled(names)?);
        match images
            .iter_mut()
            .find(|other| other.manifest.blob.digest == image.manifest.blob.digest)
        {
            Some(same) => *same = same.clone().also_named(image.names),
            None => images.push(image),
        }
    }
    if images.is_empty() {
        return Err(wrong_platform(&files.place(), platform, &others));
    }
    Ok(images)
}

/// The manifest that a descriptor leads to; what it passes by on the way goes to `others`.
fn pick(
    files: &dyn Files,
    found: &Descriptor,
    platform: &Platform,
    depth: usize,
    others: &mut Vec<String>,
) -> Result<Option<Json>> {
    let told = found.platform.clone().map(Platform::from);
    if let Some(told) = &told
        && !runs_on(told, platform)
    {
        // What tools write beside an image to tell of its making.
        if told.os != "unknown" {
            others.push(show(told));
        }
        return Ok(None);
    }
    let Some(json) = blob(files, found)? else {
        let told = told.map_or_else(|| "an image".to_owned(), |told| show(&told));
        others.push(format!("{told} by name only ({} is absent)", found.digest));
        return Ok(None);
    };
    if !found.is_index() {
        return Ok(Some(json));
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(broken(format!(
            "the indexes of {} are too deep",
            files.place()
        )));
    };
    let index: Index = parse(&json.bytes, &format!("index {}", found.digest))?;
    for child in &index.manifests {
        if let Some(json) = pick(files, child, platform, depth, others)? {
            return Ok(Some(json));
        }
    }
    Ok(None)
}

/// A small blob, which is what its digest says.
fn blob(files: &dyn Files, found: &Descriptor) -> Result<Option<Json>> {
    let checked = found.clone().checked()?;
    let Some(bytes) = files.json(&blob_name(&checked.digest))? else {
        return Ok(None);
    };
    Json::verified(found, bytes)
        .with_context(|| format!("read {}", files.place()))
        .map(Some)
}

/// The names that a layout's index gives an image.
fn names(found: &Descriptor) -> Vec<String> {
    let full = found.annotations.get("io.containerd.image.name");
    let short = found.annotations.get("org.opencontainers.image.ref.name");
    // Docker and others write a bare tag here, which names nothing.
    let short = short.filter(|name| name.contains(['/', ':']));
    full.or(short).cloned().into_iter().collect()
}

fn spelled(names: impl Iterator<Item = String>) -> Result<Vec<String>> {
    names
        .map(|name| Ok(Reference::parse(&name)?.to_string()))
        .collect()
}

/// One image of a docker-archive; the names of its layers' files go to `names`.
fn docker_image(
    files: &dyn Files,
    image: &DockerImage,
    names: &mut HashMap<String, String>,
) -> Result<Image> {
    let place = files.place();
    let config = files.json(&image.config)?.ok_or_else(|| {
        broken(format!(
            "{place} lacks the configuration '{}'",
            image.config
        ))
    })?;
    let stem = image.config.trim_end_matches(".json");
    let told = format!("sha256:{}", stem.rsplit('/').next().unwrap_or(stem));
    if is_digest(&told) && told != format!("sha256:{}", sha256_hex(&config)) {
        return Err(broken(format!(
            "'{}' of {place} is not what its name says",
            image.config
        )));
    }
    let Config { rootfs, .. } = parse(&config, "the configuration")?;
    if rootfs.diff_ids.len() != image.layers.len() {
        return Err(broken(format!(
            "'manifest.json' of {place} has {} layers and the configuration {}",
            image.layers.len(),
            rootfs.diff_ids.len()
        )));
    }
    let mut layers = Vec::new();
    for (name, diff_id) in image.layers.iter().zip(rootfs.diff_ids) {
        let (size, reader) = files
            .open(name)?
            .ok_or_else(|| broken(format!("{place} lacks the layer '{name}'")))?;
        let (digest, kind) = digest_of(reader, diff_id)
            .with_context(|| format!("read layer '{name}' of {place}"))?;
        names.insert(digest.clone(), name.clone());
        layers.push(Descriptor::layer(digest, size, kind));
    }
    let tags = image.repo_tags.iter().flatten().cloned();
    Ok(Image::made(config, &layers)?.also_named(spelled(tags)?))
}

/// The digest of a layer's file and how it is compressed. Without compression it is the diff id,
/// which is held against the bytes when they are sent.
fn digest_of(mut reader: Reader<'_>, diff_id: String) -> Result<(String, &'static str)> {
    let mut magic = Vec::new();
    reader
        .by_ref()
        .take(4)
        .read_to_end(&mut magic)
        .context("read")?;
    let kind = compression(&magic);
    if kind.is_empty() {
        return Ok((diff_id, kind));
    }
    let mut hash = Sha256::new_with_prefix(&magic);
    let mut piece = vec![0; 1 << 18];
    loop {
        match reader.read(&mut piece).context("read")? {
            0 => return Ok((format!("sha256:{}", hex(&hash.finalize())), kind)),
            read => hash.update(&piece[..read]),
        }
    }
}

/// The error for an image that does not run on the nodes; `others` is what there is.
pub(super) fn wrong_platform(place: &str, platform: &Platform, others: &[String]) -> Error {
    let others = match others {
        [] => "none".to_owned(),
        others => others.join(", "),
    };
    let platform = show(platform);
    Error::input(format!(
        "{place} has no image for the node's {platform}; it has {others}"
    ))
    .cure(format!(
        "build it, or save it whole, for that platform: `docker build --platform {platform}`, \
         `docker save --platform {platform}`"
    ))
}

#[cfg(test)]
mod tests;
