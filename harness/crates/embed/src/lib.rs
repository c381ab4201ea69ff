//! Embeds the files of a folder into a program; called from build scripts.
//!
//! The program includes them by `static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"),
//! "/files.rs"));`.

use std::env;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Writes `<name>.rs` for the build script's own crate: a slice with path and content of each file
/// below `folder`, which is relative to the crate's manifest. Cargo rebuilds the crate when a file
/// is changed, added or removed.
///
/// # Errors
/// The folder cannot be read, a name in it is not UTF-8, or the file cannot be written.
///
/// # Panics
/// Outside of a build script.
#[expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "how a build script speaks with cargo"
)]
pub fn embed(folder: &str, name: &str) -> io::Result<()> {
    let variable = |name| env::var_os(name).expect("must run as a build script");
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")).join(folder);
    println!("cargo::rerun-if-changed={}", folder.display());
    let out = Path::new(&variable("OUT_DIR")).join(format!("{name}.rs"));
    fs::write(out, source(&folder)?)
}

/// The Rust expression of a folder's files, sorted by path.
fn source(folder: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort_unstable();
    let mut source = "&[\n".to_owned();
    for file in &files {
        let text = |path: &Path| {
            let named = path.to_str().map(str::to_owned);
            named.ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))
        };
        let below = text(file.strip_prefix(folder).unwrap_or(file))?;
        let whole = text(file)?;
        writeln!(source, "    ({below:?}, include_bytes!({whole:?})),")
            .map_err(io::Error::other)?;
    }
    source.push_str("]\n");
    Ok(source)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_by_its_path_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir_all(path.join("etc/a \"b\"")).unwrap();
        fs::write(path.join("etc/a \"b\"/c"), "1").unwrap();
        fs::write(path.join("z"), "2").unwrap();
        let place = path.to_str().unwrap();
        let listed = source(path).unwrap().replace(place, "PLACE");
        assert_eq!(
            listed,
            "&[\n    (\"etc/a \\\"b\\\"/c\", include_bytes!(\"PLACE/etc/a \\\"b\\\"/c\")),\n    \
             (\"z\", include_bytes!(\"PLACE/z\")),\n]\n"
        );
        assert!(source(&path.join("absent")).is_err());
    }
}
