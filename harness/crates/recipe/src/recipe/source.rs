//! Where a component's files come from.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use kubenest_base::digest::{Sha256, hex, sha256_hex};

use super::GoBuild;
use kubenest_base::{Context, Error, Result, file::regular_files};

/// Where a component's files come from; each variant is pinned in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built from a Go module, locked by an embedded `go.sum`.
    Go(GoBuild),
    /// Debian packages, verified by apt against the suite's signed index.
    Debian {
        /// The suite, such as `trixie`.
        suite: String,
        /// The packages; version and sha256 are those of the first.
        packages: Vec<String>,
        /// The first package's version; `None` for a root file system, which is as new as its
        /// suite. A rebuild of the same upstream version is accepted.
        version: Option<String>,
        /// The sha256 of the first package's file, in hex, at exactly that version.
        sha256: Option<String>,
    },
    /// A tar archive (plain or gzip) or a bare program.
    Archive {
        /// An `http`, `https` or `file` address.
        url: String,
        /// The sha256 of the file at that address, in hex.
        sha256: String,
    },
    /// A folder of this machine.
    Folder {
        /// Where it is.
        path: PathBuf,
        /// sha256 over names, contents and executable bits of its files, in hex.
        sha256: String,
    },
}

impl Source {
    /// Makes a source of a folder and the hash of its content.
    ///
    /// # Errors
    /// Input when the folder cannot be read.
    pub fn folder(path: PathBuf) -> Result<Self> {
        let sha256 = hash_folder(&path).map_err(|cause| {
            Error::input(format!("cannot read folder {}", path.display()))
                .because(cause)
                .cure("check the path and its permissions")
        })?;
        Ok(Self::Folder { path, sha256 })
    }

    /// sha256, in hex, over what determines the files' bytes, so not over addresses and paths.
    #[must_use]
    pub fn hash(&self) -> String {
        let text = match self {
            Self::Go(build) => format!("go {}", build.hash()),
            Self::Debian {
                suite,
                packages,
                version,
                sha256,
            } => {
                let [version, sha256] = [version, sha256].map(|v| v.as_deref().unwrap_or("-"));
                format!("debian {suite} {version} {sha256} {}", packages.join(" "))
            }
            Self::Archive { sha256, .. } => format!("archive {sha256}"),
            Self::Folder { sha256, .. } => format!("folder {sha256}"),
        };
        sha256_hex(text.as_bytes())
    }
}

/// The sha256 of a file, read in pieces.
pub fn hash_file(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let what = || format!("cannot read {}", path.display());
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).with_context(what)?);
    loop {
        let piece = reader.fill_buf().with_context(what)?;
        if piece.is_empty() {
            break;
        }
        hasher.update(piece);
        let length = piece.len();
        reader.consume(length);
    }
    Ok(hex(&hasher.finish()))
}

/// The content hash of a folder, as in [`Source::Folder`], in hex.
pub fn hash_folder(root: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for file in regular_files(root)? {
        let name = file
            .strip_prefix(root)
            .expect("a walk must stay below its root");
        let mode = if is_executable(&file) { "x" } else { "-" };
        lines.push(format!("{name:?} {mode} {}", hash_file(&file)?));
    }
    lines.sort_unstable();
    Ok(sha256_hex(lines.join("\n").as_bytes()))
}

/// Whether a file can be run.
pub fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_folder_depends_on_its_content_not_its_path() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            std::fs::create_dir(folder.path().join("bin")).unwrap();
            std::fs::write(folder.path().join("bin/runc"), "same").unwrap();
        }
        let hash =
            |folder: &tempfile::TempDir| Source::folder(folder.path().into()).unwrap().hash();
        assert_eq!(hash(&one), hash(&two));
        std::fs::write(two.path().join("bin/runc"), "other").unwrap();
        assert_ne!(hash(&one), hash(&two));
    }

    #[test]
    fn the_executable_bit_changes_the_hash_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runc");
        std::fs::write(&file, "same").unwrap();
        let hash = || hash_folder(folder.path()).unwrap();
        let [plain, program] = [0o644, 0o755].map(|mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            hash()
        });
        assert_ne!(plain, program);
    }

    #[test]
    fn a_missing_folder_is_named_in_the_error() {
        let error = Source::folder("/nowhere/at/all".into()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"));
    }

    #[test]
    fn a_mirror_of_the_same_archive_is_the_same_source() {
        let at = |url: &str| {
            Source::Archive {
                url: url.into(),
                sha256: "00".repeat(32),
            }
            .hash()
        };
        assert_eq!(at("https://one.example/a.tgz"), at("file:///a.tgz"));
    }
}
