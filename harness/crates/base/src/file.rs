//! Files that are written whole or not at all, and opening files inside another root folder.

use std::{
    fs::{File, Permissions},
    io::{self, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};

use crate::{Context, Error, Result};

/// The permissions of an ordinary new file, before the umask is applied.
const SHARED: u32 = 0o666;
const PRIVATE: u32 = 0o600;

/// Opens a path as a process with the root folder `root` would: absolute links start at that root,
/// and no link leads out of it.
///
/// # Errors
/// There is no such file, or its path goes through one of the kernel's magic links.
pub fn open_inside(root: impl AsFd, path: &Path, flags: OFlag) -> io::Result<File> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(File::from(openat2(root, path, how)?))
}

/// The regular files below a folder; links are not followed, so none leads outside.
///
/// # Errors
/// A folder cannot be read.
pub fn regular_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let what = || format!("list '{}'", folder.display());
        for entry in folder.read_dir().with_context(what)? {
            let entry = entry.with_context(what)?;
            let kind = entry.file_type().with_context(what)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Writes a file atomically: a reader finds either the old content or all of `content`. A failed
/// write leaves no partial file.
///
/// # Errors
/// The folder is missing, full, or not writable by this user.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    write_atomically(path, content.as_ref(), SHARED, |_| Ok(()))
}

/// As [`write()`], for its owner's eyes only.
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    write_atomically(path, content.as_ref(), PRIVATE, |_| Ok(()))
}

/// As [`write()`], and syncs to disk, so that the file survives a crash of the machine.
///
/// # Errors
/// As [`write()`].
pub fn write_through(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    write_atomically(path, content.as_ref(), SHARED, File::sync_all)
}

fn write_atomically(
    path: &Path,
    content: &[u8],
    mode: u32,
    flush: fn(&File) -> io::Result<()>,
) -> Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        // Dropping it removes the file; only a kill leaves it behind.
        let mut half = tempfile::Builder::new()
            .prefix(".half-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        half.write_all(content)?;
        flush(half.as_file())?;
        half.persist(path)?;
        Ok(())
    };
    write().map_err(|cause| write_error(path, folder, cause))
}

fn write_error(path: &Path, folder: &Path, cause: io::Error) -> Error {
    let shown = folder.display();
    let cure = match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some(format!("free disk space at '{shown}'"))
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Some(format!("let this user write to the folder '{shown}'"))
        }
        ErrorKind::NotFound => Some(format!("make the folder '{shown}'")),
        _ => None,
    };
    let error = Error::setup(format!("cannot write '{}'", path.display())).because(cause);
    match cure {
        Some(cure) => error.cure(cure),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_replaced_and_no_partial_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, "a long text").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a long text");
        write_through(&path, "short").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_file_has_ordinary_permissions_unless_it_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other, private] =
            ["one", "other", "private"].map(|name| folder.path().join(name));
        write(&one, "").unwrap();
        fs::write(&other, "").unwrap();
        write_private(&private, "").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&one), mode(&other));
        assert_eq!(mode(&private) & 0o777, PRIVATE);
    }

    #[test]
    fn a_failure_names_the_file_and_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::create_dir_all(path.join("full")).unwrap();
        let error = write(&path, "text").unwrap_err();
        let message = format!("cannot write '{}': ", path.display());
        assert!(error.report().starts_with(&message), "{error:?}");
        assert_eq!(names(folder.path()), ["a"]);
        assert_eq!(names(&path), ["full"]);
        let error = write(&folder.path().join("none/a"), "text").unwrap_err();
        assert!(error.cure_text().unwrap().ends_with("/none'"), "{error:?}");
    }

    #[test]
    fn a_full_disk_and_a_folder_of_another_user_have_a_cure() {
        let cure = |kind: ErrorKind| {
            let error = write_error(Path::new("/a/b"), Path::new("/a"), kind.into());
            error.cure_text().map(str::to_owned)
        };
        assert_eq!(
            cure(ErrorKind::StorageFull).as_deref(),
            Some("free disk space at '/a'")
        );
        assert_eq!(
            cure(ErrorKind::PermissionDenied).as_deref(),
            Some("let this user write to the folder '/a'")
        );
        assert_eq!(cure(ErrorKind::Interrupted), None);
    }
}
