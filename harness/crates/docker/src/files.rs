//! Files in and out of a container, whether it runs or not.

use std::{
    io::Read,
    path::{Component, Path, PathBuf},
};

use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;

use super::{Docker, explain::Explain};
use kubenest_base::{Context, Error, Result};

/// A file to put somewhere.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FileEntry {
    /// Absolute path.
    pub path: String,
    /// Permission bits, for example `0o644`.
    pub mode: u32,
    /// What is in it.
    pub content: Vec<u8>,
}

impl FileEntry {
    /// A plain file, mode 0644.
    pub fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            mode: 0o644,
            content: content.into(),
        }
    }

    /// The same file with these permission bits, for example `0o755` of a program.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
}

impl Docker {
    /// Puts files into a container; folders on the way are made.
    ///
    /// # Errors
    /// A path that is not absolute or has `..`, or the engine refuses.
    pub async fn put_files(&self, container: &str, files: &[FileEntry]) -> Result<()> {
        let archive = pack(files)?;
        let options = UploadToContainerOptions {
            path: "/".into(),
            ..Default::default()
        };
        self.raw()
            .upload_to_container(container, Some(options), archive.into())
            .await
            .explain(|| format!("put files into container '{container}'"))
    }

    /// One file of a container.
    ///
    /// # Errors
    /// No such file, or the engine does not answer.
    pub async fn get_file(&self, container: &str, path: &str) -> Result<Vec<u8>> {
        let what = || format!("read '{path}' in container '{container}'");
        let archive: Vec<Bytes> = self
            .download(container, path)
            .try_collect()
            .await
            .with_context(what)?;
        let archive = archive.concat();
        let mut archive = tar::Archive::new(archive.as_slice());
        for entry in archive.entries().with_context(what)? {
            let mut entry = entry.with_context(what)?;
            if entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).with_context(what)?;
                return Ok(content);
            }
        }
        Err(Error::not_found(format!(
            "'{path}' in container '{container}' is no file"
        )))
    }

    /// Writes a container's path as a tar archive to a file of this machine.
    ///
    /// # Errors
    /// No such path, a full disk, or the engine does not answer.
    pub async fn get_archive(&self, container: &str, path: &str, into: &Path) -> Result<()> {
        let what = || format!("copy '{path}' out of container '{container}'");
        let mut file = tokio::fs::File::create(into).await.with_context(what)?;
        let mut stream = self.download(container, path);
        while let Some(part) = stream.next().await {
            file.write_all(&part.explain(what)?)
                .await
                .with_context(what)?;
        }
        file.flush().await.with_context(what)
    }

    fn download(
        &self,
        container: &str,
        path: &str,
    ) -> impl futures::Stream<Item = Result<Bytes, bollard::errors::Error>> + Unpin {
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        Box::pin(self.raw().download_from_container(container, Some(options)))
    }
}

/// A tar archive of the files, owned by root, with a fixed time.
pub fn pack(files: &[FileEntry]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let name = inside(&file.path)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_mtime(0);
        builder
            .append_data(&mut header, &name, file.content.as_slice())
            .with_context(|| format!("pack '{}'", file.path))?;
    }
    builder.into_inner().context("pack files")
}

/// The path below `/`, if it is absolute and stays inside.
fn inside(path: &str) -> Result<PathBuf> {
    let wrong = || Error::input(format!("'{path}' is not an absolute path without '..'"));
    let name = Path::new(path).strip_prefix("/").map_err(|_| wrong())?;
    let plain = name
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if plain && name.components().next().is_some() {
        Ok(name.to_owned())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        assert!(inside("/etc/hosts").is_ok());
        for path in ["etc/hosts", "/etc/../x", "/", ""] {
            assert!(inside(path).is_err(), "{path}");
        }
    }
}
