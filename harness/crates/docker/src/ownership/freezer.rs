//! Thaws frozen processes of a container that cannot be killed.
//!
//! On cgroups of version 1 a frozen process does not die. runc in a node freezes each new container
//! for a moment. If the node is killed in that moment, nobody thaws it, and neither the node's
//! first process nor its container ever ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const ROOT: &str = "/sys/fs/cgroup/freezer";
const STATE: &str = "freezer.state";

/// How deep below the root an engine puts its containers' groups.
const DEPTH: usize = 3;

/// Thaws all cgroups of the container with this id. Returns false when none was frozen, or when the
/// container is not on this machine.
pub(crate) fn thaw(id: &str) -> bool {
    // The cgroup is found by its name, because a path in /proc of a process in another cgroup
    // namespace is not valid here.
    let group = group_of(Path::new(ROOT), id, DEPTH).filter(|_| !id.is_empty());
    group.is_some_and(|group| thaw_below(&group))
}

/// The cgroup that has a container's id in its name.
fn group_of(folder: &Path, id: &str, depth: usize) -> Option<PathBuf> {
    if depth == 0 {
        return None;
    }
    let found = folders(folder);
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let own = found
        .iter()
        .find(|path| name(path).is_some_and(|name| name.contains(id)));
    let below = || {
        found
            .iter()
            .find_map(|folder| group_of(folder, id, depth - 1))
    };
    own.cloned().or_else(below)
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn thaw_below(group: &Path) -> bool {
    let thaw = || -> io::Result<bool> {
        let state = group.join(STATE);
        let frozen = fs::read_to_string(&state)?.trim() != "THAWED";
        if frozen {
            fs::write(&state, "THAWED")?;
        }
        Ok(frozen)
    };
    // The upper cgroup comes first: the kernel reports everything below a frozen cgroup as frozen.
    let own = thaw().unwrap_or(false);
    let below = folders(group).into_iter();
    below.fold(own, |any, folder| thaw_below(&folder) || any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_own_group_is_found() {
        let root = tempfile::tempdir().unwrap();
        for group in [
            "docker/beef/f00d",
            "system.slice/docker-f00d.scope/deep/beef",
        ] {
            fs::create_dir_all(root.path().join(group)).unwrap();
        }
        let found = |id, depth| group_of(root.path(), id, depth);
        let scope = root.path().join("system.slice/docker-f00d.scope");
        assert_eq!(found("docker-f00d", DEPTH), Some(scope));
        assert_eq!(found("beef", 2), Some(root.path().join("docker/beef")));
        assert_eq!(found("abcd", DEPTH), None);
    }

    #[test]
    fn what_is_frozen_anywhere_below_is_thawed() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        for (folder, state) in [(root.path(), "THAWED\n"), (&deep, "FROZEN\n")] {
            fs::write(folder.join(STATE), state).unwrap();
        }
        assert!(thaw_below(root.path()));
        assert_eq!(fs::read_to_string(deep.join(STATE)).unwrap(), "THAWED");
        assert!(!thaw_below(root.path()), "nothing is frozen any more");
    }
}
