//! Images in the engine.

use std::{collections::HashMap, path::Path};

use bollard::{
    models::ImageConfig,
    query_parameters::{ImportImageOptions, RemoveImageOptions, TagImageOptions},
};
use futures::{StreamExt, TryStreamExt};
use tokio_util::io::ReaderStream;

use super::{Docker, explain::Explain, is_gone};
use kubenest_base::{Context, Error, Result};

/// What the engine knows of an image.
#[derive(Debug, Clone)]
pub struct ImageInfo {
    /// `sha256:…`, of its configuration.
    pub id: String,
    /// `name:tag` references.
    pub tags: Vec<String>,
    /// `name@sha256:…` references, where it came from a registry.
    pub digests: Vec<String>,
    /// What its containers run: the entry point and its arguments.
    pub command: Vec<String>,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// `sha256:…` of each layer's tar, the lowest first.
    pub layers: Vec<String>,
    /// Bytes, all layers.
    pub size: i64,
}

fn command(config: &ImageConfig) -> Vec<String> {
    let parts = [&config.entrypoint, &config.cmd];
    parts.into_iter().flatten().flatten().cloned().collect()
}

impl Docker {
    /// What the engine knows of an image; `None` when it has none of that name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        match self.raw().inspect_image(reference).await {
            Ok(found) => Ok(Some(ImageInfo {
                id: found.id.unwrap_or_default(),
                tags: found.repo_tags.unwrap_or_default(),
                digests: found.repo_digests.unwrap_or_default(),
                command: found.config.as_ref().map(command).unwrap_or_default(),
                labels: found
                    .config
                    .and_then(|config| config.labels)
                    .unwrap_or_default(),
                layers: found
                    .root_fs
                    .and_then(|root| root.layers)
                    .unwrap_or_default(),
                size: found.size.unwrap_or(0),
            })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error).explain(|| format!("inspect image '{reference}'")),
        }
    }

    /// Loads a docker-archive of this machine into the engine.
    ///
    /// # Errors
    /// The file cannot be read, or the engine refuses it.
    pub async fn load_archive(&self, archive: &Path) -> Result<()> {
        let file = tokio::fs::File::open(archive)
            .await
            .with_context(|| format!("open '{}'", archive.display()))?;
        let stream = ReaderStream::with_capacity(file, 1 << 20);
        self.load_stream(stream)
            .await
            .with_context(|| format!("load '{}'", archive.display()))
    }

    /// Loads a docker-archive into the engine while it is still being read.
    ///
    /// # Errors
    /// The stream ends early, or the engine refuses it.
    pub async fn load_stream(
        &self,
        stream: impl futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static,
    ) -> Result<()> {
        let options = ImportImageOptions {
            quiet: true,
            platform: None,
        };
        let mut answers = Box::pin(self.raw().import_image_stream(options, stream));
        while let Some(answer) = answers.next().await {
            let answer = answer.explain(|| "load an image".into())?;
            if let Some(detail) = answer.error_detail {
                return Err(Error::setup(detail.message.unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// An image as a docker-archive.
    ///
    /// # Errors
    /// No such image, or the engine does not answer.
    pub async fn save_image(&self, reference: &str) -> Result<Vec<u8>> {
        let parts: Vec<bytes::Bytes> = self
            .save_stream(reference, None)
            .try_collect()
            .await
            .with_context(|| format!("save image '{reference}'"))?;
        Ok(parts.concat())
    }

    /// An image as a stream of a docker-archive. With a platform, such as `linux/amd64`, only that
    /// one is saved where the engine keeps several and can select one (Docker 28 and later).
    pub fn save_stream(
        &self,
        reference: &str,
        platform: Option<&str>,
    ) -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send + Unpin + use<> {
        let what = format!("save image '{reference}'");
        let parts = match platform.and_then(platform_query) {
            // bollard has no parameter for the platform.
            Some(query) => self
                .raw()
                .export_image_where(reference, query)
                .left_stream(),
            None => self.raw().export_image(reference).right_stream(),
        };
        Box::pin(
            parts.map(move |part| part.explain(|| what.clone()).map_err(std::io::Error::other)),
        )
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// No such image.
    pub async fn tag_image(&self, reference: &str, repository: &str, tag: &str) -> Result<()> {
        let options = TagImageOptions {
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
        };
        self.raw()
            .tag_image(reference, Some(options))
            .await
            .explain(|| format!("tag image '{reference}' as '{repository}:{tag}'"))
    }

    /// Removes a name of an image, and the image with its last name. A missing image is no error.
    ///
    /// # Errors
    /// The image is in use.
    pub async fn remove_image(&self, reference: &str) -> Result<()> {
        let options = RemoveImageOptions {
            force: false,
            noprune: false,
            platforms: None,
        };
        match self
            .raw()
            .remove_image(reference, Some(options), None)
            .await
        {
            Err(error) if !is_gone(&error) => {
                Err(error).explain(|| format!("remove image '{reference}'"))
            }
            _ => Ok(()),
        }
    }
}

/// The query for a platform in the form of the engine's API; `None` if the text is no platform.
fn platform_query(platform: &str) -> Option<String> {
    let (os, architecture) = platform.split_once('/')?;
    let plain = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let json = |quote: &str| {
        format!(
            "%7B{quote}os{quote}:{quote}{os}{quote},{quote}architecture{quote}:{quote}{architecture}{quote}%7D"
        )
    };
    (plain(os) && plain(architecture)).then(|| format!("platform={}", json("%22")))
}
