//! The files of saved images: in a tar archive, in a folder, or in memory.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::manifest::{JSON_LIMIT, broken};
use kubenest_base::{Context, Error, Result};

/// A reader of one file.
pub(super) type Reader<'a> = Box<dyn Read + Send + 'a>;

/// Files by name, whichever tool wrote them.
pub(super) trait Files: Send + Sync {
    /// Size in bytes and content of a file; `None` if there is none of that name.
    fn open(&self, name: &str) -> Result<Option<(u64, Reader<'_>)>>;

    /// Where the files are, for messages.
    fn place(&self) -> String;

    /// Whether layers are among the files; they may have been passed on already.
    fn has_layers(&self) -> bool {
        true
    }

    /// Whether the files are an engine's own image store.
    fn is_engines_store(&self) -> bool {
        false
    }

    /// The folder that has a file of this name, if the file is not at the top.
    fn folder_of(&self, _file: &str) -> Option<String> {
        None
    }

    /// A small file.
    fn json(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((size, reader)) = self.open(name)? else {
            return Ok(None);
        };
        let what = || format!("read '{name}' of {}", self.place());
        let mut bytes = Vec::new();
        if size <= JSON_LIMIT {
            let mut reader = reader.take(JSON_LIMIT);
            reader.read_to_end(&mut bytes).with_context(what)?;
        }
        if bytes.len() as u64 == size {
            return Ok(Some(bytes));
        }
        Err(broken(format!(
            "'{name}' of {} has {size} bytes",
            self.place()
        )))
    }
}

/// Where layouts keep the blob of a digest.
pub(super) fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// A tar archive; only its table of contents is in memory.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    path: PathBuf,
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// Position and size.
    File(u64, u64),
    /// The name of another entry.
    Link(String),
}

/// The most entries an archive of images may have.
const ENTRY_LIMIT: usize = 100_000;

/// The most links that are followed to a file.
const LINK_LIMIT: usize = 8;

impl Archive {
    /// Reads the table of contents. A gzipped archive is unpacked into an unnamed file in `scratch`
    /// first.
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self> {
        let what = || format!("open '{}'", path.display());
        let file = File::open(path).map_err(|cause| {
            Error::input(what())
                .because(cause)
                .cure("name a file that `docker save` or another tool has written")
        })?;
        if !file.metadata().with_context(what)?.is_file() {
            return Err(Error::input(format!("'{}' is no file", path.display()))
                .cure("a folder is an OCI layout: load it with ImageSource::oci_layout"));
        }
        let mut magic = [0; MAGIC as usize];
        file.read_at(&mut magic, 0).with_context(what)?;
        let by_hand = match compression(&magic) {
            "+zstd" => Some("zstd"),
            _ => unread_compression(&magic),
        };
        if let Some(tool) = by_hand {
            let path = path.display();
            return Err(
                Error::input(format!("'{path}' is compressed with {tool}")).cure(format!(
                    "unpack it, and load what comes out: {tool} --decompress --keep {path}"
                )),
            );
        }
        let file = match compression(&magic) {
            "+gzip" => unpack_to_file(MultiGzDecoder::new(BufReader::new(file)), scratch)
                .with_context(|| format!("unpack '{}'", path.display()))?,
            _ => file,
        };
        Self::index(file, path)
    }

    /// Reads the table of contents of an archive; `path` is its name in messages.
    pub(super) fn index(mut file: File, path: &Path) -> Result<Self> {
        let what = || format!("read the archive '{}'", path.display());
        let end = file.seek(SeekFrom::End(0)).with_context(what)?;
        file.rewind().with_context(what)?;
        let bad = |why: String| broken(format!("archive '{}': {why}", path.display()));
        let mut entries = HashMap::new();
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek().with_context(what)? {
            let entry =
                entry.map_err(|cause| bad("it is no whole tar archive".into()).because(cause))?;
            let name = entry.path().with_context(what)?.into_owned();
            let kind = entry.header().entry_type();
            if kind == EntryType::XGlobalHeader || kind == EntryType::Directory {
                continue;
            }
            let clean =
                clean(&name).ok_or_else(|| bad(format!("entry '{}' leaves it", name.display())))?;
            let found = match kind {
                EntryType::Regular | EntryType::Continuous => {
                    Entry::File(entry.raw_file_position(), entry.size())
                }
                EntryType::Symlink | EntryType::Link => {
                    let link = entry.link_name().with_context(what)?.unwrap_or_default();
                    let folder = match kind {
                        EntryType::Symlink => name.parent().unwrap_or(Path::new("")),
                        _ => Path::new(""),
                    };
                    let target = target(folder, &link).ok_or_else(|| {
                        bad(format!("'{clean}' links out of it to '{}'", link.display()))
                    })?;
                    Entry::Link(target)
                }
                other => return Err(bad(format!("entry '{clean}' is of kind {other:?}"))),
            };
            if let Entry::File(at, size) = found
                && at.checked_add(size).is_none_or(|last| last > end)
            {
                return Err(bad(format!("it ends within '{clean}'")));
            }
            entries.insert(clean, found);
            if entries.len() > ENTRY_LIMIT {
                return Err(bad(format!("it has more than {ENTRY_LIMIT} entries")));
            }
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            entries,
        })
    }
}

impl Files for Archive {
    fn open(&self, name: &str) -> Result<Option<(u64, Reader<'_>)>> {
        let mut name = name;
        for _ in 0..LINK_LIMIT {
            match self.entries.get(name) {
                None => return Ok(None),
                Some(Entry::Link(target)) => name = target,
                Some(&Entry::File(at, size)) => {
                    let slice = Slice {
                        file: &self.file,
                        at,
                        left: size,
                    };
                    return Ok(Some((size, Box::new(slice))));
                }
            }
        }
        Err(broken(format!(
            "'{name}' of {} links in a circle",
            self.place()
        )))
    }

    fn place(&self) -> String {
        format!("archive '{}'", self.path.display())
    }

    fn folder_of(&self, file: &str) -> Option<String> {
        let mut names = self.entries.keys();
        names.find_map(|name| Some(name.strip_suffix(file)?.strip_suffix('/')?.to_owned()))
    }
}

/// A part of a file; several can be read at the same time.
struct Slice<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A folder, such as an OCI layout.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Files for Folder {
    fn open(&self, name: &str) -> Result<Option<(u64, Reader<'_>)>> {
        let Some(name) = clean(Path::new(name)) else {
            return Ok(None);
        };
        let path = self.0.join(name);
        let what = || format!("open '{}'", path.display());
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(what)?,
        };
        let meta = file.metadata().with_context(what)?;
        if !meta.is_file() {
            return Err(broken(format!("'{}' is no file", path.display())));
        }
        Ok(Some((meta.len(), Box::new(file))))
    }

    fn place(&self) -> String {
        format!("folder '{}'", self.0.display())
    }
}

/// The small files of a stream that was read to its end.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) files: HashMap<String, Vec<u8>>,
    pub(super) place: String,
}

impl Files for Memory {
    fn open(&self, name: &str) -> Result<Option<(u64, Reader<'_>)>> {
        let found = self.files.get(name).map(|bytes| {
            let reader: Reader<'_> = Box::new(bytes.as_slice());
            (bytes.len() as u64, reader)
        });
        Ok(found)
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn has_layers(&self) -> bool {
        false
    }
}

/// How many first bytes show the compression of a file.
pub(super) const MAGIC: u64 = 6;

/// The compression of bytes that begin like this, as a suffix of the media type.
pub(super) fn compression(magic: &[u8]) -> &'static str {
    match magic {
        [0x1f, 0x8b, ..] => "+gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "+zstd",
        _ => "",
    }
}

/// The compression of bytes that begin like this, if Docker can read it and a node cannot.
pub(super) fn unread_compression(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        _ => None,
    }
}

/// The name of an archive's entry; `None` when it would lead out of the archive.
pub(super) fn clean(name: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The target of a link in `folder`; `None` when it lies outside the archive.
fn target(folder: &Path, link: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.components().chain(link.components()) {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Copies a reader into an unnamed file in this folder, which disappears when it is closed.
pub(super) fn unpack_to_file(mut reader: impl Read, folder: &Path) -> Result<File> {
    let trouble = |cause: io::Error| {
        Error::setup(format!("write a scratch file in '{}'", folder.display()))
            .because(cause)
            .cure("free disk space there, or set KUBENEST_CACHE to a roomier folder")
    };
    std::fs::create_dir_all(folder).map_err(trouble)?;
    let mut file = tempfile::tempfile_in(folder).map_err(trouble)?;
    let mut piece = vec![0; 1 << 18];
    loop {
        // A read error is the fault of the source, not of the scratch disk.
        let read = match reader.read(&mut piece) {
            Ok(0) => return Ok(file),
            Ok(read) => read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(broken("it is cut off or corrupt").because(cause)),
        };
        file.write_all(&piece[..read]).map_err(trouble)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(write: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Result<Archive> {
        let mut builder = tar::Builder::new(Vec::new());
        write(&mut builder);
        let bytes = builder.into_inner().unwrap();
        index(&bytes)
    }

    fn index(bytes: &[u8]) -> Result<Archive> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Archive::index(file, Path::new("a.tar"))
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, name: &str, kind: EntryType, text: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        // The name is written directly, because the builder would refuse names that leave the
        // archive.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let data = if kind == EntryType::Regular { text } else { "" };
        if kind != EntryType::Regular {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }

    #[test]
    fn files_are_read_where_they_lie_and_through_links() {
        let found = archive(|tar| {
            add(tar, "./a/layer.tar", EntryType::Regular, "layer");
            add(tar, "b/layer.tar", EntryType::Symlink, "../a/layer.tar");
        })
        .unwrap();
        assert_eq!(found.json("b/layer.tar").unwrap().unwrap(), b"layer");
        assert!(found.json("c").unwrap().is_none());
    }

    #[test]
    fn entries_that_leave_the_archive_are_refused() {
        for (name, kind, text) in [
            ("../x", EntryType::Regular, ""),
            ("/x", EntryType::Regular, ""),
            ("x", EntryType::Symlink, "/etc/shadow"),
            ("a/x", EntryType::Symlink, "../../y"),
            ("x", EntryType::Char, ""),
        ] {
            let error = archive(|tar| add(tar, name, kind, text)).unwrap_err();
            assert!(error.cure_text().is_some(), "{name}: {error}");
        }
    }

    #[test]
    fn a_circle_of_links_ends() {
        let found = archive(|tar| {
            add(tar, "a", EntryType::Symlink, "b");
            add(tar, "b", EntryType::Symlink, "a");
        });
        assert!(found.unwrap().json("a").is_err());
    }

    #[test]
    fn an_archive_that_is_cut_off_is_told() {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, "layer", EntryType::Regular, &"x".repeat(4096));
        let bytes = builder.into_inner().unwrap();
        let error = index(&bytes[..1024]).unwrap_err();
        assert!(error.to_string().contains("ends within 'layer'"), "{error}");
    }
}
