//! Separates the engine's mounts from those that were there before the engine started.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt, path::PathBuf};

use nix::mount::{MntFlags, umount2};

use super::layout::Layout;
use kubenest_base::{Context, Result};

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The mount's id, which no other mount of the machine has at the same time.
    id: Vec<u8>,
    point: PathBuf,
}

/// Records the mounts in the engine's folders before the engine starts: the user may have mounted a
/// disk there for the images, and that mount stays.
pub(super) fn note(layout: &Layout) -> Result<()> {
    let path = layout.former_mounts();
    fs::write(&path, table()?).with_context(|| format!("write '{}'", path.display()))
}

/// Unmounts what the engine mounted, and nothing else.
pub(super) fn undo(layout: &Layout) -> Result<()> {
    // The run folder is made before the first mount, and removed after the last unmount.
    if !layout.run.exists() {
        return Ok(());
    }
    let former = fs::read(layout.former_mounts()).ok();
    for point in own_mounts(&table()?, former.as_deref(), layout) {
        umount2(&point, MntFlags::MNT_DETACH)
            .with_context(|| format!("unmount '{}'", point.display()))?;
    }
    Ok(())
}

fn table() -> Result<Vec<u8>> {
    fs::read("/proc/self/mountinfo").context("list mounts")
}

/// The mount points of the engine's own mounts, last mounted first. `former` is the table from
/// before the start, which engines of an earlier kubenest did not record.
fn own_mounts(table: &[u8], former: Option<&[u8]>, layout: &Layout) -> Vec<PathBuf> {
    let former = former.map(mounts);
    let is_own = |mount: &Mount| {
        if mount.point.starts_with(&layout.run) {
            return true;
        }
        match &former {
            Some(former) => mount.point.starts_with(&layout.home) && !former.contains(mount),
            None => mount.point.starts_with(layout.data()) && mount.point != layout.data(),
        }
    };
    let own = mounts(table).into_iter().filter(is_own);
    own.map(|mount| mount.point).rev().collect()
}

fn mounts(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|b| *b == b'\n');
    let mount = |line: &[u8]| {
        let mut fields = line.split(|b| *b == b' ');
        let id = fields.next()?.to_vec();
        let point = unescape(fields.nth(3)?);
        Some(Mount { id, point })
    };
    lines.filter_map(mount).collect()
}

/// Decodes a path: the kernel writes space, tab, newline and backslash as octal numbers.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        let (byte, next) = match octal {
            Some(byte) if *first == b'\\' => (byte, &tail[3..]),
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = next;
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A disk that the user mounted for the engine, one for its volumes, and a mount beside them.
    const FORMER: &str = "\
22 1 0:5 / / rw - ext4 /dev/a rw
30 22 0:6 / /c/engine rw - ext4 /dev/b rw
31 30 0:7 / /c/engine/data/volumes rw - ext4 /dev/c rw
32 22 0:8 / /c/engine-other rw - tmpfs tmpfs rw
";
    /// What the daemon mounts: its data folder on itself, roots of containers, namespaces.
    const RUNNING: &str = "\
40 30 0:6 /data /c/engine/data rw - ext4 /dev/b rw
41 40 0:9 / /c/engine/data/overlay2/with\\040space/merged rw - overlay overlay rw
42 22 0:4 / /run/k/exec/netns/default rw - nsfs nsfs rw
";

    fn own_of(former: Option<&str>) -> Vec<PathBuf> {
        let layout = Layout {
            id: "0".into(),
            home: "/c/engine".into(),
            run: "/run/k".into(),
        };
        let table = [FORMER, RUNNING].concat();
        own_mounts(table.as_bytes(), former.map(str::as_bytes), &layout)
    }

    #[test]
    fn what_was_there_before_the_engine_stays() {
        let merged = Path::new("/c/engine/data/overlay2/with space/merged");
        let namespace = Path::new("/run/k/exec/netns/default");
        assert_eq!(
            own_of(Some(FORMER)),
            [namespace, merged, Path::new("/c/engine/data")]
        );
        let everything = own_of(Some(&[FORMER, RUNNING].concat()));
        assert_eq!(everything, [namespace]);
    }

    #[test]
    fn without_a_note_the_folders_themselves_are_left() {
        let own = own_of(None);
        assert!(!own.contains(&PathBuf::from("/c/engine")), "{own:?}");
        assert!(!own.contains(&PathBuf::from("/c/engine/data")), "{own:?}");
        assert_eq!(own.len(), 3, "{own:?}");
    }

    #[test]
    fn a_path_without_escapes_stays() {
        assert_eq!(unescape(b"/a\\134b"), Path::new("/a\\b"));
        assert_eq!(unescape(b"/a\\"), Path::new("/a\\"));
        assert_eq!(unescape("/ü".as_bytes()), Path::new("/ü"));
    }
}
