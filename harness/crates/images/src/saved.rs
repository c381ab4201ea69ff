//! Saved images: what a docker-archive or an OCI layout contains for one platform.

use std::{collections::HashMap, io::Read};

use kubenest_base::digest::{Sha256, hex, sha256_hex};

use super::{
    files::{Files, MAGIC, Reader, blob_name, compression, unread_compression},
    manifest::{
        Config, Descriptor, DockerImage, Image, Index, Layer, broken, parse, runs_on, show,
    },
    reference::{is_digest, spell_out},
};
use kubenest_base::{Context, Error, Result};
use kubenest_node::node::containerd::Platform;

/// Where the bytes of layers come from.
pub(super) trait Layers: Send + Sync {
    /// The bytes of a layer; `None` when this place lacks them.
    fn open(&self, layer: &Layer) -> Result<Option<Reader<'_>>>;

    /// Where the layers are, for messages.
    fn place(&self) -> String;

    /// The error for parts of an image that are not there.
    fn absent(&self, parts: &str) -> Error {
        absent(&self.place(), parts, false)
    }
}

/// Images in files.
pub(super) struct SavedImages {
    files: Box<dyn Files>,
    /// File names by digest, for layers whose files are not named as in layouts.
    names: HashMap<String, String>,
    /// Whether an engine wrote the files that is known to leave out blobs.
    left_out: bool,
}

impl Layers for SavedImages {
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

    fn absent(&self, parts: &str) -> Error {
        absent(&self.files.place(), parts, self.left_out)
    }
}

/// As [`read`], for files that must contain exactly one image.
pub(super) fn read_one(files: Box<dyn Files>, platform: &Platform) -> Result<(Image, SavedImages)> {
    let place = files.place();
    let (images, saved) = read(files, platform)?;
    match <[Image; 1]>::try_from(images) {
        Ok([image]) => Ok((image, saved)),
        Err(_) => Err(Error::setup(format!("{place} is not one image"))),
    }
}

/// The images in `files` for this platform.
pub(super) fn read(
    files: Box<dyn Files>,
    platform: &Platform,
) -> Result<(Vec<Image>, SavedImages)> {
    let place = files.place();
    let index = files.json("index.json")?;
    let docker = files.json("manifest.json")?;
    if index.is_none() && docker.is_none() {
        return Err(no_image(&*files));
    }
    let docker: Option<Vec<DockerImage>> = docker
        .map(|bytes| parse(&bytes, &format!("'manifest.json' of {place}")))
        .transpose()?;
    let docker = docker.unwrap_or_default();
    let mut reading = Reading {
        files: &*files,
        platform,
        left_out: files.is_engines_store() || (index.is_some() && !docker.is_empty()),
        docker,
        names: HashMap::new(),
    };
    let mut images = match &index {
        Some(index) => {
            let index: Index = parse(index, &format!("'index.json' of {place}"))?;
            reading.indexed(&index)?
        }
        None => Vec::new(),
    };
    reading.add_unindexed(&mut images)?;
    if images.is_empty() {
        return Err(Error::input(format!("{place} has no image"))
            .cure("save it again, and name the images that are meant"));
    }
    let (names, left_out) = (reading.names, reading.left_out);
    let saved = SavedImages {
        files,
        names,
        left_out,
    };
    Ok((images, saved))
}

/// The state while images are read.
pub(super) struct Reading<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) platform: &'a Platform,
    /// The contents of `manifest.json`, if there is one.
    pub(super) docker: Vec<DockerImage>,
    /// See [`SavedImages`].
    left_out: bool,
    names: HashMap<String, String>,
}

impl Reading<'_> {
    /// The images of `manifest.json` that no index names.
    fn add_unindexed(&mut self, images: &mut Vec<Image>) -> Result<()> {
        for image in self.docker.clone() {
            let there = |other: &Image| blob_name(&other.config.blob.digest) == image.config;
            let names = image.names();
            let named = |name: &String| images.iter().any(|other| other.names.contains(name));
            if images.iter().any(there) || (!names.is_empty() && names.iter().all(named)) {
                continue;
            }
            let image = self.docker_image(&image)?;
            if !runs_on(&image.platform, self.platform) {
                let place = self.files.place();
                let place = match image.names.first() {
                    Some(name) if self.docker.len() > 1 => format!("'{name}' of {place}"),
                    _ => place,
                };
                let other = show(&image.platform);
                return Err(wrong_platform(&place, self.platform, &[other]));
            }
            self.add(images, image)?;
        }
        Ok(())
    }

    /// One image of `manifest.json`.
    fn docker_image(&mut self, image: &DockerImage) -> Result<Image> {
        let place = self.files.place();
        let Some(config) = self.files.json(&image.config)? else {
            return Err(self.absent(&format!("the configuration '{}'", image.config)));
        };
        let stem = image.config.trim_end_matches(".json");
        let stem = stem.rsplit(['/', ':']).next().unwrap_or(stem);
        let told = format!("sha256:{stem}");
        if is_digest(&told) && told != format!("sha256:{}", sha256_hex(&config)) {
            return Err(broken(format!(
                "'{}' of {place} is not what its name says",
                image.config
            )));
        }
        let Config { rootfs, .. } = parse(&config, "the configuration")?;
        let layers = self.docker_layers(image, &rootfs.diff_ids, &[])?;
        Ok(Image::made(config, &layers)?.also_named(image.names()))
    }

    /// The layers of an image of `manifest.json`. Layers that are not in the files may be in
    /// `known`.
    pub(super) fn docker_layers(
        &mut self,
        image: &DockerImage,
        diff_ids: &[String],
        known: &[Descriptor],
    ) -> Result<Vec<Descriptor>> {
        let place = self.files.place();
        let (told, wanted) = (image.layers.len(), diff_ids.len());
        if told != wanted {
            return Err(broken(format!(
                "'manifest.json' of {place} has {told} layers and the configuration {wanted}"
            )));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(diff_ids) {
            let known = known.iter().find(|layer| blob_name(&layer.digest) == *name);
            layers.push(match (self.files.open(name)?, known) {
                (Some((size, reader)), _) => {
                    let (digest, kind) = digest_of(reader, diff_id)
                        .with_context(|| format!("read layer '{name}' of {place}"))?;
                    self.names.insert(digest.clone(), name.clone());
                    Descriptor::layer(digest, size, kind)
                }
                (None, Some(known)) => known.clone(),
                (None, None) => return Err(self.absent(&format!("the layer '{name}'"))),
            });
        }
        Ok(layers)
    }

    /// The error for parts of an image that the files lack.
    pub(super) fn absent(&self, parts: &str) -> Error {
        absent(&self.files.place(), parts, self.left_out)
    }
}

impl DockerImage {
    /// Its names, as CRI spells them; podman writes `<none>:<none>` for none.
    pub(super) fn names(&self) -> Vec<String> {
        let tags = self.repo_tags.iter().flatten();
        tags.filter_map(|tag| spell_out(tag)).collect()
    }
}

/// The error for files that are no saved image.
fn no_image(files: &dyn Files) -> Error {
    let place = files.place();
    match files
        .folder_of("index.json")
        .or_else(|| files.folder_of("manifest.json"))
    {
        Some(folder) => Error::input(format!("{place} has its images in the folder '{folder}'"))
            .cure(format!(
                "pack what is in the folder, not the folder: tar -C {folder} -cf FILE ."
            )),
        None => Error::input(format!(
            "{place} has neither 'index.json' nor 'manifest.json'"
        ))
        .cure("load what `docker save` writes, or an OCI layout; a cut off file lacks them too"),
    }
}

/// The error for absent parts of an image; with `left_out` the engine that saved it is the cause.
pub(super) fn absent(place: &str, parts: &str, left_out: bool) -> Error {
    let lacks = format!("{place} lacks {parts}");
    if !left_out {
        return broken(lacks);
    }
    Error::input(format!(
        "{lacks}: the engine left out what it had unpacked for another image"
    ))
    .cure(
        "saving it again gives the same: remove the images and containers that share layers \
             with it, pull or build it again and save it then, or turn off the engine's containerd \
             image store; see https://github.com/moby/moby/issues/49473",
    )
}

/// The digest of a layer's file and its compression. Without compression the digest is the diff id,
/// which is verified when the bytes are sent.
fn digest_of(mut reader: Reader<'_>, diff_id: &str) -> Result<(String, &'static str)> {
    let mut magic = Vec::new();
    reader
        .by_ref()
        .take(MAGIC)
        .read_to_end(&mut magic)
        .context("read")?;
    let kind = compression(&magic);
    if let Some(unread) = unread_compression(&magic) {
        return Err(Error::input(format!(
            "it is compressed with {unread}, which no node unpacks"
        ))
        .cure("save the image with layers that are gzipped or not compressed"));
    }
    if kind.is_empty() {
        return Ok((diff_id.to_owned(), kind));
    }
    let mut hash = Sha256::new();
    hash.update(&magic);
    let mut piece = vec![0; 1 << 18];
    loop {
        match reader.read(&mut piece).context("read")? {
            0 => return Ok((format!("sha256:{}", hex(&hash.finish())), kind)),
            read => hash.update(&piece[..read]),
        }
    }
}

/// The error for an image that does not run on the nodes; `others` are the platforms that it has.
pub(super) fn wrong_platform(place: &str, platform: &Platform, others: &[String]) -> Error {
    let platform = show(platform);
    let named = format!("{platform} by name only");
    let cure = match others.iter().any(|other| other.starts_with(&named)) {
        true => format!(
            "the engine has not pulled it: `docker pull --platform {platform}`, and save it then"
        ),
        false => format!(
            "build it, or save it whole, for that platform: `docker build --platform {platform}`, \
             `docker save --platform {platform}`"
        ),
    };
    let others = match others {
        [] => "none".to_owned(),
        others => others.join(", "),
    };
    Error::input(format!(
        "{place} has no image for the node's {platform}; it has {others}"
    ))
    .cure(cure)
}

#[cfg(test)]
mod tests;
