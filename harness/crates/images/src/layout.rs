//! The images that an OCI layout's index names, checked against the `manifest.json` that Docker
//! writes beside it.
//!
//! Docker and containerd write `manifest.json` into a layout too. Where the two differ the index is
//! wrong: Docker 25.0.0 writes the layers out of order, and `null` for an image that is saved by
//! digest; its release candidates wrote no layers or wrong sizes.

use super::{
    files::blob_name,
    manifest::{
        Config, Descriptor, DockerImage, Image, Index, Json, Manifest, broken, parse, runs_on, show,
    },
    reference::spell_out,
    saved::{Reading, wrong_platform},
};
use kubenest_base::{Context, Error, Result, progress};

/// The deepest nesting of indexes that is read. An index within an index is rare, and a third level
/// is an attack.
pub(super) const DEPTH: usize = 3;

/// An image that the index names and that does not run on the nodes' platform.
struct PassedBy {
    names: Vec<String>,
    /// The platforms that it has instead.
    others: Vec<String>,
}

impl Reading<'_> {
    /// The images of an index that run on the nodes.
    ///
    /// # Errors
    /// An image is not complete, or it has a name and would not be loaded.
    pub(super) fn indexed(&mut self, index: &Index) -> Result<Vec<Image>> {
        let mut images: Vec<Image> = Vec::new();
        let mut passed = Vec::new();
        for found in &index.manifests {
            let names = names(found);
            let mut others = Vec::new();
            let manifest = self.pick(found, DEPTH, &mut others)?;
            let image = manifest.map(|manifest| self.put_together(manifest, &names));
            match image.transpose()? {
                Some(image) if runs_on(&image.platform, self.platform) => {
                    self.add(&mut images, image)?;
                }
                Some(image) => {
                    others.push(show(&image.platform));
                    let names = image.names;
                    passed.push(PassedBy { names, others });
                }
                None => passed.push(PassedBy { names, others }),
            }
        }
        self.refuse_losses(&images, &passed)?;
        let others = passed.into_iter().flat_map(|passed| passed.others);
        let others: Vec<String> = others.collect();
        match (images.is_empty(), others.is_empty()) {
            (true, false) => Err(wrong_platform(&self.files.place(), self.platform, &others)),
            (false, false) => {
                let place = self.files.place();
                progress!("passing by in {place}: {}", others.join(", "));
                Ok(images)
            }
            (_, true) => Ok(images),
        }
    }

    /// Adds an image, or only its names if it is there.
    pub(super) fn add(&self, images: &mut Vec<Image>, image: Image) -> Result<()> {
        let digest = &image.manifest.blob.digest;
        let same = |other: &&mut Image| other.manifest.blob.digest == *digest;
        if let Some(same) = images.iter_mut().find(same) {
            *same = same.clone().also_named(image.names);
            return Ok(());
        }
        let taken = images.iter().find_map(|other| {
            let name = other.names.iter().find(|name| image.names.contains(name));
            name.map(|name| (name.clone(), show(&other.platform)))
        });
        match taken {
            None => images.push(image),
            // These are variants of one platform. The first is used, as it is for an index.
            Some((_, platform)) if platform != show(&image.platform) => {}
            Some((name, _)) => {
                let place = self.files.place();
                let what = format!("two images of {place} are both named '{name}'");
                return Err(
                    Error::input(what).cure("save each by itself, or under a name of its own")
                );
            }
        }
        Ok(())
    }

    /// Refuses when an image that has a name would not be loaded.
    fn refuse_losses(&self, images: &[Image], passed: &[PassedBy]) -> Result<()> {
        let loaded = |name: &String| images.iter().any(|image| image.names.contains(name));
        let lost = passed
            .iter()
            .find(|passed| !passed.names.is_empty() && !passed.names.iter().any(loaded));
        let Some(PassedBy { names, others }) = lost else {
            return Ok(());
        };
        let place = self.files.place();
        let place = match images.is_empty() && passed.len() == 1 {
            true => place,
            false => format!("'{}' of {place}", names.join("', '")),
        };
        Err(wrong_platform(&place, self.platform, others))
    }

    /// The image of a manifest, its layers in the order in which they are applied.
    fn put_together(&mut self, manifest: Json, names: &[String]) -> Result<Image> {
        let told: Manifest = parse(&manifest.bytes, "the manifest")?;
        let file = blob_name(&told.config.digest);
        let beside = self.docker.iter().find(|image| image.config == file);
        let beside = beside.cloned();
        let tags = beside.as_ref().map(DockerImage::names).unwrap_or_default();
        let names = names.iter().cloned().chain(tags);
        let names: Vec<String> = names.collect();
        let Some(config) = self.blob(&told.config)? else {
            let mut parts = vec![format!("configuration {}", told.config.digest)];
            for layer in &told.layers {
                if self.files.has_layers() && self.files.open(&blob_name(&layer.digest))?.is_none()
                {
                    parts.push(format!("layer {}", layer.digest));
                }
            }
            let image = names
                .first()
                .map_or("an image".into(), |name| format!("'{name}'"));
            return Err(self.absent(&format!("{} of {image}", parts.join(", "))));
        };
        let Config { rootfs, .. } = parse(&config.bytes, "the configuration")?;
        let ordered = in_order(&told.layers, &rootfs.diff_ids);
        let wrong = told.layers.len() != rootfs.diff_ids.len()
            || ordered
                .as_ref()
                .is_some_and(|ordered| differ(ordered, &told.layers))
            || beside
                .as_ref()
                .is_some_and(|beside| self.contradicts(beside, &told.layers));
        let image = match (wrong, &beside, ordered) {
            (true, Some(beside), _) => {
                let layers = self.docker_layers(beside, &rootfs.diff_ids, &told.layers)?;
                Image::made(config.bytes, &layers)?
            }
            (true, None, Some(ordered)) => Image::made(config.bytes, &ordered)?,
            _ => Image::new(manifest, config)?,
        };
        Ok(image.also_named(names))
    }

    /// Whether the `manifest.json` beside the index names other layers, or files of other sizes.
    fn contradicts(&self, beside: &DockerImage, layers: &[Descriptor]) -> bool {
        let files = layers.iter().map(|layer| blob_name(&layer.digest));
        let other_size = |layer: &Descriptor| {
            let file = self.files.open(&blob_name(&layer.digest));
            let size = file.ok().flatten().map(|(size, _)| size);
            size.is_some_and(|size| i64::try_from(size) != Ok(layer.size))
        };
        !files.eq(beside.layers.iter().cloned()) || layers.iter().any(other_size)
    }

    /// The manifest that a descriptor leads to. Platforms that are skipped on the way are added to
    /// `others`.
    fn pick(
        &self,
        found: &Descriptor,
        depth: usize,
        others: &mut Vec<String>,
    ) -> Result<Option<Json>> {
        let told = found.platform.clone().map(Into::into);
        if let Some(told) = &told
            && !runs_on(told, self.platform)
        {
            // Attestations that tools write beside an image have the platform "unknown".
            if told.os != "unknown" {
                others.push(show(told));
            }
            return Ok(None);
        }
        let Some(json) = self.blob(found)? else {
            let told = told.map_or_else(|| "an image".to_owned(), |told| show(&told));
            others.push(format!("{told} by name only ({} is absent)", found.digest));
            return Ok(None);
        };
        if !found.is_index() {
            return Ok(Some(json));
        }
        let Some(depth) = depth.checked_sub(1) else {
            let place = self.files.place();
            return Err(broken(format!("the indexes of {place} are too deep")));
        };
        let index: Index = parse(&json.bytes, &format!("index {}", found.digest))?;
        for child in &index.manifests {
            if let Some(json) = self.pick(child, depth, others)? {
                return Ok(Some(json));
            }
        }
        Ok(None)
    }

    /// A small blob, checked against its digest.
    fn blob(&self, found: &Descriptor) -> Result<Option<Json>> {
        let checked = found.clone().checked()?;
        let Some(bytes) = self.files.json(&blob_name(&checked.digest))? else {
            return Ok(None);
        };
        Json::verified(found, bytes)
            .with_context(|| format!("read {}", self.files.place()))
            .map(Some)
    }
}

/// The layers in the order of their diff ids. This is possible only if no layer is compressed,
/// because then each digest is a diff id.
fn in_order(layers: &[Descriptor], diff_ids: &[String]) -> Option<Vec<Descriptor>> {
    let layer = |id: &String| layers.iter().find(|layer| layer.digest == *id).cloned();
    diff_ids.iter().map(layer).collect()
}

fn differ(ours: &[Descriptor], theirs: &[Descriptor]) -> bool {
    let digests = |layers: &[Descriptor]| -> Vec<String> {
        layers.iter().map(|layer| layer.digest.clone()).collect()
    };
    digests(ours) != digests(theirs)
}

/// The names that a layout's index gives an image, as CRI spells them.
fn names(found: &Descriptor) -> Vec<String> {
    let full = found.annotations.get("io.containerd.image.name");
    let short = found.annotations.get("org.opencontainers.image.ref.name");
    // Docker and other tools write a bare tag here, which is no name.
    let short = short.filter(|name| name.contains(['/', ':']));
    full.or(short)
        .and_then(|name| spell_out(name))
        .into_iter()
        .collect()
}
