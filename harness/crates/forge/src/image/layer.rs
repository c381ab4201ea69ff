//! Layers: tar archives of one purpose each, made once, with keys that say what they are made from.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use kubenest_base::digest::{Sha256, hex};
use tar::{Builder, EntryType, Header};

use kubenest_base::{Context, Error, Result, store::Store};
use kubenest_docker::FileEntry;

/// A layer in the cache.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Path of the uncompressed tar.
    pub tar: PathBuf,
    /// Digest of that tar, `sha256:…`.
    pub diff_id: String,
}

/// Writes one layer. Every entry belongs to root and has the time of the epoch, so that the same
/// content gives the same layer on every machine.
pub struct LayerWriter {
    builder: Builder<HashWriter<BufWriter<File>>>,
    folder: PathBuf,
}

impl Layer {
    /// The layer with this key; `write` writes it if it is not in the cache yet.
    ///
    /// # Errors
    /// The error of `write`, or a full disk.
    pub async fn cached(
        store: &Store,
        key: &str,
        write: impl AsyncFnOnce(&mut LayerWriter) -> Result<()>,
    ) -> Result<Self> {
        let dir = store
            .entry("layer", key, async |dir| {
                let mut writer = LayerWriter::create(dir)?;
                write(&mut writer).await?;
                let diff_id = writer.finish()?;
                fs::write(dir.join("diff-id"), diff_id).context("write a layer's diff id")
            })
            .await?;
        let diff_id = fs::read_to_string(dir.join("diff-id")).context("read a layer's diff id")?;
        Ok(Self {
            tar: dir.join("layer.tar"),
            diff_id,
        })
    }

    /// Size of the tar in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        Ok(fs::metadata(&self.tar).context("look at a layer")?.len())
    }
}

impl LayerWriter {
    fn create(dir: &Path) -> Result<Self> {
        let path = dir.join("layer.tar");
        let file = File::create(&path).with_context(|| format!("create '{}'", path.display()))?;
        let mut builder = Builder::new(HashWriter::new(BufWriter::with_capacity(1 << 20, file)));
        builder.mode(tar::HeaderMode::Deterministic);
        Ok(Self {
            builder,
            folder: dir.to_owned(),
        })
    }

    /// A folder for files that are needed only until the layer is written. It is inside the
    /// unfinished entry, so that it is removed with the entry if the build is killed.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir> {
        tempfile::tempdir_in(&self.folder)
            .with_context(|| format!("make a scratch folder in '{}'", self.folder.display()))
    }

    /// Adds everything below `root`, laid out as below the image's root.
    pub(crate) fn tree(&mut self, root: &Path) -> Result<()> {
        if !root.is_dir() {
            return Ok(());
        }
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let what = || format!("read '{}'", folder.display());
            let mut items: Vec<PathBuf> = fs::read_dir(&folder)
                .with_context(what)?
                .map(|item| item.map(|item| item.path()))
                .collect::<io::Result<_>>()
                .with_context(what)?;
            items.sort();
            for path in items {
                let name = path
                    .strip_prefix(root)
                    .expect("must be below its root")
                    .to_owned();
                let meta = fs::symlink_metadata(&path).with_context(what)?;
                if meta.is_dir() {
                    folders.push(path);
                } else if meta.is_symlink() {
                    let target = fs::read_link(&path).with_context(what)?;
                    self.symlink(&name, &target)?;
                } else {
                    let file = File::open(&path).with_context(what)?;
                    self.append(&name, meta.permissions().mode(), meta.len(), file)?;
                }
            }
        }
        Ok(())
    }

    /// Adds one file.
    pub fn file(&mut self, file: &FileEntry) -> Result<()> {
        let name = file.path.trim_start_matches('/');
        let size = file.content.len() as u64;
        self.append(Path::new(name), file.mode, size, file.content.as_slice())
    }

    /// Adds a program.
    ///
    /// # Errors
    /// It cannot be read, or the disk is full.
    pub fn program(&mut self, name: &Path, from: &Path) -> Result<()> {
        let what = || format!("read '{}'", from.display());
        let file = File::open(from).with_context(what)?;
        let size = file.metadata().with_context(what)?.len();
        self.append(name, 0o755, size, file)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// The disk is full.
    pub fn symlink(&mut self, name: &Path, target: &Path) -> Result<()> {
        self.link(EntryType::Symlink, 0o777, name, target)
    }

    /// Adds another name of a program in the same layer.
    ///
    /// # Errors
    /// The disk is full.
    pub fn hard_link(&mut self, name: &Path, target: &Path) -> Result<()> {
        self.link(EntryType::Link, 0o755, name, target)
    }

    fn link(&mut self, kind: EntryType, mode: u32, name: &Path, target: &Path) -> Result<()> {
        let mut header = header(mode, 0);
        header.set_entry_type(kind);
        self.builder
            .append_link(&mut header, name, target)
            .with_context(|| format!("add link '{}' to a layer", name.display()))
    }

    /// Adds an empty folder.
    ///
    /// # Errors
    /// The disk is full.
    pub fn folder(&mut self, name: &str, mode: u32) -> Result<()> {
        let mut header = header(mode, 0);
        header.set_entry_type(EntryType::Directory);
        self.builder
            .append_data(&mut header, name, io::empty())
            .with_context(|| format!("add folder '{name}' to a layer"))
    }

    /// Adds the entries of another tar, each under the name that `rename` returns. An entry for
    /// which `rename` returns `None` is left out, and so are device nodes, since the engine makes
    /// its own.
    pub fn archive(&mut self, tar: &Path, rename: impl Fn(&Path) -> Option<PathBuf>) -> Result<()> {
        let what = || format!("copy '{}' into a layer", tar.display());
        let file = File::open(tar).with_context(what)?;
        let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, file));
        for entry in archive.entries().with_context(what)? {
            let mut entry = entry.with_context(what)?;
            let kind = entry.header().entry_type();
            if matches!(
                kind,
                EntryType::Char | EntryType::Block | EntryType::XGlobalHeader
            ) {
                continue;
            }
            let path = entry.path().with_context(what)?.into_owned();
            let Some(name) = rename(&path) else { continue };
            let mut header = entry.header().clone();
            let attributes = extended(&mut entry).with_context(what)?;
            let attributes = attributes.iter().map(|(k, v)| (k.as_str(), v.as_slice()));
            self.builder
                .append_pax_extensions(attributes)
                .with_context(what)?;
            match entry.link_name().with_context(what)? {
                Some(link) if kind == EntryType::Link => {
                    let link = rename(&link).ok_or_else(|| {
                        Error::setup(format!("'{}' links out of its tree", path.display()))
                    })?;
                    self.builder.append_link(&mut header, &name, &link)
                }
                Some(link) => self.builder.append_link(&mut header, &name, link),
                None => self.builder.append_data(&mut header, &name, &mut entry),
            }
            .with_context(what)?;
        }
        Ok(())
    }

    fn append(&mut self, name: &Path, mode: u32, size: u64, data: impl Read) -> Result<()> {
        self.builder
            .append_data(&mut header(mode, size), name, data)
            .with_context(|| format!("add '{}' to a layer", name.display()))
    }

    fn finish(self) -> Result<String> {
        let (mut file, digest) = self.builder.into_inner().context("end a layer")?.finish();
        file.flush().map_err(|cause| {
            Error::setup("cannot write a layer")
                .because(cause)
                .cure("free disk space, or set KUBENEST_CACHE to a roomier folder")
        })?;
        Ok(format!("sha256:{digest}"))
    }
}

/// The extended attributes of an entry; overlayfs marks whiteouts and opaque folders with them.
fn extended(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let Some(extensions) = entry.pax_extensions()? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for extension in extensions {
        let extension = extension?;
        if let Ok(key) = extension.key()
            && key.starts_with("SCHILY.xattr.")
        {
            found.push((key.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    Ok(found)
}

fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode & 0o7777);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Passes bytes on and computes their sha256.
struct HashWriter<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> HashWriter<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }

    fn finish(self) -> (W, String) {
        (self.inner, hex(&self.hash.finish()))
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn write_one(root: &Path) -> Layer {
        let tree = root.join("tree");
        fs::create_dir_all(tree.join("usr/bin")).unwrap();
        fs::write(tree.join("usr/bin/x"), "program").unwrap();
        let store = Store::open(&root.join("store"));
        Layer::cached(&store, "a", async |writer| {
            writer.tree(&tree)?;
            writer.symlink(Path::new("usr/bin/y"), Path::new("x"))
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn the_same_content_is_the_same_layer() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(
            write_one(one.path()).await.diff_id,
            write_one(two.path()).await.diff_id
        );
    }

    #[tokio::test]
    async fn an_archive_is_moved_below_another_folder() {
        let dir = tempfile::tempdir().unwrap();
        let layer = write_one(dir.path()).await;
        let store = Store::open(&dir.path().join("store"));
        let moved = Layer::cached(&store, "b", async |writer| {
            writer.archive(&layer.tar, |name| Some(Path::new("opt").join(name)))
        })
        .await
        .unwrap();
        let mut archive = tar::Archive::new(File::open(moved.tar).unwrap());
        let names: Vec<PathBuf> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().into_owned())
            .collect();
        assert_eq!(
            names,
            [Path::new("opt/usr/bin/x"), Path::new("opt/usr/bin/y")]
        );
    }

    #[tokio::test]
    async fn a_hard_link_is_another_name_of_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"));
        let layer = Layer::cached(&store, "c", async |writer| {
            writer.file(&FileEntry::new("/bin/one", "program"))?;
            writer.hard_link(Path::new("bin/other"), Path::new("bin/one"))
        });
        let mut archive = tar::Archive::new(File::open(layer.await.unwrap().tar).unwrap());
        let last = archive.entries().unwrap().last().unwrap().unwrap();
        assert_eq!(last.header().entry_type(), EntryType::Link);
        assert_eq!(last.path().unwrap(), Path::new("bin/other"));
        let target = last.link_name().unwrap().unwrap();
        assert_eq!(target, Path::new("bin/one"));
    }
}
