//! Makes and fills the folders of evidence.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use tempfile::TempDir;

use super::{home::home, page::FileLink, part::PartId};
use kubenest_base::{Context, Result, file, settings::Settings};

/// A marker file in each folder that is made here. A folder without it is never removed.
pub(super) const MARK: &str = ".kubenest-evidence";
/// Mode of a folder: only the owner may read it, because redaction can miss a secret.
const FOLDER: u32 = 0o700;
/// Longest part of a folder's name that comes from a test or a cluster.
const NAME: usize = 100;

/// A folder that is being filled.
#[derive(Debug)]
pub(super) struct Folder {
    folder: PathBuf,
    pub(super) files: Vec<FileLink>,
}

impl Folder {
    /// A new folder in `home`, named after what it is about; no folder is used twice.
    pub(super) fn create(home: &Path, about: &str, process: u32) -> Result<Self> {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let name = format!("{}-{stamp}-{process}", slug(about));
        let what = || format!("make a folder in '{}'", home.display());
        fs::create_dir_all(home).with_context(what)?;
        for count in 1.. {
            let name = if count == 1 {
                name.clone()
            } else {
                format!("{name}-{count}")
            };
            let folder = home.join(name);
            match fs::DirBuilder::new().mode(FOLDER).create(&folder) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(what)?;
                    return Self::mark(folder);
                }
            }
        }
        unreachable!("a free name must be found")
    }

    /// The folder of a cluster's whole logs, where newer logs replace older ones.
    pub(super) fn of_cluster(home: &Path, cluster: &str) -> Result<Self> {
        let folder = home.join(format!("cluster-{}", slug(cluster)));
        make_folders(&folder).with_context(|| format!("make '{}'", folder.display()))?;
        Self::mark(folder)
    }

    fn mark(folder: PathBuf) -> Result<Self> {
        file::write_private(&folder.join(MARK), "")?;
        Ok(Self {
            folder,
            files: Vec::new(),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the redacted text of a part.
    pub(super) fn write(&mut self, id: &PartId, text: &str, cut: bool) -> Result<()> {
        let path = id.path();
        self.write_unlisted(&path, text)?;
        self.files.push(FileLink {
            path,
            what: id.description().to_owned(),
            bytes: text.len() as u64,
            cut,
        });
        Ok(())
    }

    /// Writes a file that the page does not list.
    pub(super) fn write_unlisted(&self, path: &str, text: &str) -> Result<()> {
        let path = self.folder.join(path);
        if let Some(parent) = path.parent() {
            make_folders(parent).with_context(|| format!("write '{}'", path.display()))?;
        }
        // Two cases of a cluster may write its whole logs at once. Each file is replaced as a
        // whole, so that it is always the complete log of one of them.
        file::write_private(&path, text)
    }
}

fn make_folders(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(FOLDER).create(folder)
}

/// A folder for bundles that is removed with them when it is dropped. It lies beside the other
/// bundles, so that `prune` removes it if this process is killed; its name says that nothing
/// failed.
pub fn temporary_home(settings: &Settings) -> Result<TempDir> {
    let home = home(settings);
    let make = || {
        fs::create_dir_all(&home)?;
        let mut aside = tempfile::Builder::new();
        aside.prefix("asked-for-").tempdir_in(&home)
    };
    let aside = make().with_context(|| format!("make a folder in '{}'", home.display()))?;
    file::write_private(&aside.path().join(MARK), "")?;
    Ok(aside)
}

/// A name that every file system takes.
fn slug(about: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    let words = about.split(|c| !plain(c)).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("-");
    name.truncate(NAME);
    match name.trim_matches('.') {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, thread};

    use super::*;
    use crate::part::{Journal, Kind};

    #[test]
    fn a_bundle_is_never_written_over() {
        let home = tempfile::tempdir().unwrap();
        let make = || Folder::create(home.path(), "suite::fixed::../x", 7).unwrap();
        let (one, two) = (make(), make());
        assert_ne!(one.folder(), two.folder());
        let name = one.folder().file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("suite-fixed-..-x-2") && name.ends_with("Z-7"),
            "{name}"
        );
        assert_eq!(slug(".."), "unnamed");
    }

    #[test]
    fn what_is_kept_is_for_its_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let bundle = Folder::create(home.path(), "b", 1).unwrap();
        bundle
            .write_unlisted("nodes/n/kubelet.log", "text")
            .unwrap();
        let full = Folder::of_cluster(home.path(), "c").unwrap();
        full.write_unlisted("index.json", "{}").unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for folder in [
            bundle.folder().join("nodes/n"),
            bundle.folder().into(),
            full.folder().into(),
        ] {
            assert_eq!(mode(folder), FOLDER);
        }
        for file in [
            bundle.folder().join("nodes/n/kubelet.log"),
            full.folder().join("index.json"),
        ] {
            assert_eq!(mode(file), 0o600);
        }
    }

    #[test]
    fn a_whole_log_is_whole_while_two_cases_write_it_at_once() {
        let home = tempfile::tempdir().unwrap();
        let id = Kind::WholeJournal(Journal::Kubelet).of("n");
        let path = home.path().join("cluster-c").join(id.path());
        let texts = ["a".repeat(1 << 20), "b".repeat(1 << 19)];
        let write = |text: &str| {
            for _ in 0..20 {
                let mut logs = Folder::of_cluster(home.path(), "c").unwrap();
                logs.write(&id, text, false).unwrap();
            }
        };
        thread::scope(|scope| {
            let cases = texts.each_ref().map(|text| scope.spawn(|| write(text)));
            while !cases.iter().all(|case| case.is_finished()) {
                if let Ok(read) = fs::read_to_string(&path) {
                    assert!(texts.contains(&read), "{} bytes", read.len());
                }
            }
        });
        assert!(texts.contains(&fs::read_to_string(&path).unwrap()));
    }
}
