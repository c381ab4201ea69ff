//! Layers of a local engine's overlay2 store, read in place.
//!
//! `docker save` first writes every layer of an image to a scratch folder. The store itself has the
//! files of each layer, and a list (tar-split) of the bytes between them in the layer's tar. Put
//! together they are that tar, which its digest proves. So a change of the top layer costs only
//! that layer. If anything is not as expected here, the load goes the long way through `docker
//! save`.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::read::GzDecoder;
use nix::fcntl::OFlag;
use serde::Deserialize;

use super::{
    files::Reader,
    manifest::{Config, Descriptor, Image, JSON_LIMIT, Layer, broken, chains, parse},
    reference::is_digest,
    saved::Layers,
};
use kubenest_base::digest::sha256_hex;
use kubenest_base::{Context, Error, Result, file};
use kubenest_docker::EngineInfo;

/// The store of an engine on this machine.
#[derive(Debug)]
pub(super) struct LayerDb {
    root: PathBuf,
}

/// One line of a layer's list.
#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: u8,
    /// For kind 1: the file whose content comes here.
    #[serde(default)]
    name: String,
    /// The name, where it is not UTF-8.
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: u64,
    /// For kind 2: the bytes that come here.
    #[serde(default)]
    payload: Option<String>,
}

const FILE: u8 = 1;
const BYTES: u8 = 2;

impl LayerDb {
    /// The store, if it can be read from here.
    pub(super) fn of(engine: &EngineInfo) -> Option<Self> {
        let root = engine.data_root_here.clone();
        let plain = engine.storage_driver == "overlay2" && engine.native_diff;
        (plain && root.join("image/overlay2/layerdb").is_dir()).then_some(Self { root })
    }

    /// The image of this id.
    pub(super) fn image(&self, id: &str) -> Result<Image> {
        let wrong = || Error::setup(format!("'{id}' is no image's id"));
        let hex = id
            .strip_prefix("sha256:")
            .filter(|_| is_digest(id))
            .ok_or_else(wrong)?;
        let folder = self.root.join("image/overlay2");
        let path = folder.join("imagedb/content/sha256").join(hex);
        let config = small(&path)?;
        if sha256_hex(&config) != hex {
            return Err(broken(format!(
                "'{}' is not what its name says",
                path.display()
            )));
        }
        let Config { rootfs, .. } = parse(&config, "the configuration")?;
        let mut layers = Vec::new();
        for (diff_id, chain) in rootfs.diff_ids.iter().zip(chains(&rootfs.diff_ids)?) {
            let size = self.parts(&chain)?.try_fold(0_u64, |size, part| {
                let more = part.and_then(|part| part.length());
                let more = more.with_context(|| format!("read layer {diff_id}"))?;
                let size = size.checked_add(more);
                size.ok_or_else(|| broken(format!("layer {diff_id} has no size that can be")))
            })?;
            layers.push(Descriptor::layer(diff_id.clone(), size, ""));
        }
        Image::made(config, &layers)
    }

    fn folder(&self, chain: &str) -> PathBuf {
        let name = chain.trim_start_matches("sha256:");
        self.root.join("image/overlay2/layerdb/sha256").join(name)
    }

    /// The list of the parts that a layer's tar is made of.
    fn parts(&self, chain: &str) -> Result<impl Iterator<Item = io::Result<Part>> + Send + use<>> {
        let path = self.folder(chain).join("tar-split.json.gz");
        let file = File::open(&path).with_context(|| format!("open '{}'", path.display()))?;
        let reader = BufReader::new(GzDecoder::new(BufReader::new(file)));
        let parts = serde_json::Deserializer::from_reader(reader).into_iter::<Part>();
        Ok(parts.map(|part| part.map_err(io::Error::other)))
    }
}

impl Layers for LayerDb {
    fn open(&self, layer: &Layer) -> Result<Option<Reader<'_>>> {
        let name = small(&self.folder(&layer.chain).join("cache-id"))?;
        let name = String::from_utf8_lossy(&name).trim().to_owned();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(broken(format!("'{name}' names no folder of the engine's")));
        }
        let root = self.root.join("overlay2").join(name).join("diff");
        let root = File::open(&root).with_context(|| format!("open '{}'", root.display()))?;
        let reader = TarSplit {
            root,
            parts: self.parts(&layer.chain)?,
            current: Box::new(io::empty()),
            left: 0,
        };
        Ok(Some(Box::new(reader)))
    }

    fn place(&self) -> String {
        format!("the engine's store '{}'", self.root.display())
    }
}

/// A layer's tar, put together as it is read.
struct TarSplit<P> {
    root: File,
    parts: P,
    current: Box<dyn Read + Send>,
    /// How many bytes of the current part are still to be read.
    left: u64,
}

impl<P: Iterator<Item = io::Result<Part>>> Read for TarSplit<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.left == 0 {
            let Some(part) = self.parts.next().transpose()? else {
                return Ok(0);
            };
            self.left = part.length()?;
            if self.left > 0 {
                self.current = part.open(&self.root)?;
            }
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.current.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file has shrunk",
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

impl Part {
    /// How many bytes of the tar this part is.
    fn length(&self) -> io::Result<u64> {
        match self.kind {
            FILE => Ok(self.size),
            BYTES => Ok(self.bytes()?.len() as u64),
            other => Err(io::Error::other(format!("a part of kind {other}"))),
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let payload = self.payload.as_deref().unwrap_or_default();
        BASE64_STANDARD.decode(payload).map_err(io::Error::other)
    }

    fn open(&self, root: &File) -> io::Result<Box<dyn Read + Send>> {
        if self.kind == BYTES {
            return Ok(Box::new(io::Cursor::new(self.bytes()?)));
        }
        let raw = self
            .name_raw
            .as_deref()
            .map(|raw| BASE64_STANDARD.decode(raw));
        let raw = raw.transpose().map_err(io::Error::other)?;
        let name = raw.as_deref().unwrap_or(self.name.as_bytes());
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        // An image's author chose the name: it must not lead out of the layer.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
        let file = file::open_inside(root, name, flags)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("'{}' is no file", name.display())));
        }
        Ok(Box::new(file))
    }
}

/// A small file.
fn small(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("read '{}'", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(what)?;
    file.take(JSON_LIMIT + 1)
        .read_to_end(&mut bytes)
        .with_context(what)?;
    if bytes.len() as u64 > JSON_LIMIT {
        return Err(broken(format!("'{}' is too large", path.display())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::symlink};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// A store with one layer whose list is these lines.
    fn store(lines: &[String]) -> (tempfile::TempDir, LayerDb, Layer) {
        let dir = tempfile::tempdir().unwrap();
        let db = LayerDb {
            root: dir.path().to_owned(),
        };
        let diff_id = format!("sha256:{}", "a".repeat(64));
        let folder = db.folder(&diff_id);
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(dir.path().join("overlay2/abc/diff/etc")).unwrap();
        fs::write(folder.join("cache-id"), "abc").unwrap();
        let list = File::create(folder.join("tar-split.json.gz")).unwrap();
        let mut list = GzEncoder::new(list, Compression::fast());
        list.write_all(lines.concat().as_bytes()).unwrap();
        list.finish().unwrap();
        let blob = Descriptor::layer(diff_id.clone(), 0, "").checked().unwrap();
        let chain = diff_id.clone();
        (
            dir,
            db,
            Layer {
                blob,
                diff_id,
                chain,
            },
        )
    }

    fn read(db: &LayerDb, layer: &Layer) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut reader = db.open(layer).unwrap().unwrap();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    }

    fn between(text: &str) -> String {
        format!(
            "{{\"type\":2,\"payload\":\"{}\"}}\n",
            BASE64_STANDARD.encode(text)
        )
    }

    fn file(name: &str, size: usize) -> String {
        format!("{{\"type\":1,\"name\":\"{name}\",\"size\":{size},\"payload\":\"AAAAAAAAAAA=\"}}\n")
    }

    #[test]
    fn a_layer_is_put_together_from_its_files_and_what_lay_between() {
        let (dir, db, layer) = store(&[
            between("head "),
            file("./etc/x", 4),
            file("etc/", 0),
            between(" tail"),
        ]);
        fs::write(dir.path().join("overlay2/abc/diff/etc/x"), "body").unwrap();
        assert_eq!(read(&db, &layer).unwrap(), b"head body tail");
    }

    #[test]
    fn names_that_lead_out_of_the_layer_find_nothing() {
        for name in ["../../../secret", "/../secret", "etc/out/secret"] {
            let (dir, db, layer) = store(&[file(name, 6)]);
            fs::write(dir.path().join("secret"), "secret").unwrap();
            symlink(dir.path(), dir.path().join("overlay2/abc/diff/etc/out")).unwrap();
            assert!(read(&db, &layer).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_that_has_shrunk_is_an_error() {
        let (dir, db, layer) = store(&[file("etc/x", 9)]);
        fs::write(dir.path().join("overlay2/abc/diff/etc/x"), "body").unwrap();
        let error = read(&db, &layer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
