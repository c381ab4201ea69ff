//! Where an image comes from.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use kubenest_base::{
    Context, Error, Result,
    digest::{Sha256, hex},
};
use kubenest_docker::Docker;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    pub(super) place: Place,
    pub(super) name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Engine(String),
    Registry(String),
    Files(Saved),
}

/// An image that was saved to files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Saved {
    Archive(PathBuf),
    Layout(PathBuf),
}

impl ImageSource {
    /// An image of the engine that the nodes run on, by name or id.
    pub fn engine(reference: impl Into<String>) -> Self {
        Self::new(Place::Engine(reference.into()))
    }

    /// The images of an archive that `docker save` or another tool wrote, in Docker's layout or the
    /// OCI's, gzipped or not.
    pub fn archive(path: impl Into<PathBuf>) -> Self {
        Self::new(Place::Files(Saved::Archive(path.into())))
    }

    /// The images of a folder in the OCI's image layout.
    pub fn oci_layout(path: impl Into<PathBuf>) -> Self {
        Self::new(Place::Files(Saved::Layout(path.into())))
    }

    /// An image of a registry, `name@sha256:…`. The engine pulls it, with its own credentials,
    /// and keeps it.
    pub fn registry(reference: impl Into<String>) -> Self {
        Self::new(Place::Registry(reference.into()))
    }

    /// Another name for the image in the nodes.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Identifies what would be loaded now: two sources with the same text load the same content
    /// under the same names.
    ///
    /// # Errors
    /// The engine has no such image, or a file cannot be read.
    pub async fn fingerprint(&self, docker: &Docker) -> Result<String> {
        let content = match &self.place {
            Place::Engine(reference) => {
                let found = docker.image(reference).await?.ok_or_else(|| {
                    Error::not_found(format!("the engine has no image '{reference}'"))
                        .cure("build or pull it before the tests")
                })?;
                format!("{reference} {}", found.id)
            }
            Place::Registry(reference) => reference.clone(),
            Place::Files(Saved::Archive(path)) => sha256_of_file(path).await?,
            // All content is named by hash in the index.
            Place::Files(Saved::Layout(path)) => sha256_of_file(&path.join("index.json")).await?,
        };
        let name = self.name.as_deref().unwrap_or_default();
        Ok(format!("{content} {name}"))
    }

    fn new(place: Place) -> Self {
        Self { place, name: None }
    }
}

async fn sha256_of_file(path: &Path) -> Result<String> {
    let read = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || -> io::Result<String> {
        let mut hash = Sha256::new();
        io::copy(&mut File::open(read)?, &mut hash)?;
        Ok(hex(&hash.finish()))
    });
    let what = || format!("read '{}'", path.display());
    hashed.await.with_context(what)?.with_context(what)
}

/// An image of the engine.
impl From<&str> for ImageSource {
    fn from(reference: &str) -> Self {
        Self::engine(reference)
    }
}
