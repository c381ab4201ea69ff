//! Checks that only this user can write to a folder: programs in the cache are run, often as root.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};

use nix::unistd::{Gid, Group, Uid, User, geteuid};

use crate::{Error, Result};

/// Group or others may enter the folder.
const OTHERS_PASS: u32 = 0o011;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;
/// In a sticky folder nobody can rename or remove the entries of others.
const STICKY: u32 = 0o1000;

/// The facts that decide who can write to a folder.
#[derive(Debug, Clone, Copy)]
struct Folder {
    owner: u32,
    group: u32,
    mode: u32,
    /// It is the checked folder itself, not one on the path to it.
    last: bool,
    /// A folder above it lets nobody else enter, so the modes below do not matter.
    closed: bool,
}

/// Makes the folder if it is missing, and refuses it if anybody but this user and root can write to
/// it or replace a folder on its path.
///
/// # Errors
/// Names the folder that others can write to, who they are, and what to do.
pub fn check(folder: &Path) -> Result<()> {
    let mut maker = fs::DirBuilder::new();
    maker.recursive(true).mode(0o700);
    // The caller reports a missing folder when it needs it.
    maker.create(folder).ok();
    check_as_it_is(folder)
}

/// As [`check`], but makes nothing.
///
/// # Errors
/// As [`check`].
pub fn check_as_it_is(folder: &Path) -> Result<()> {
    check_path(folder, true)?;
    // The real path behind links counts too. The folder itself was checked above, through its link.
    let real = folder
        .ancestors()
        .find_map(|above| above.canonicalize().ok());
    real.map_or(Ok(()), |real| check_path(&real, false))
}

/// Checks the folders on the path down to this one; `last` if its own entries matter too.
fn check_path(folder: &Path, last: bool) -> Result<()> {
    let mut way: Vec<&Path> = folder.ancestors().collect();
    way.reverse();
    let mut closed = false;
    for place in way {
        closed |= check_folder(place, last && place == folder, closed)?;
    }
    Ok(())
}

/// Returns whether nobody else can enter the folders below this one.
fn check_folder(place: &Path, last: bool, closed: bool) -> Result<bool> {
    let link = fs::symlink_metadata(place);
    let found = match (link, fs::metadata(place)) {
        (Err(error), _) | (_, Err(error)) if error.kind() == ErrorKind::NotFound => {
            return Ok(closed);
        }
        (Err(error), _) | (_, Err(error)) => return Err(refusal(place, &error.to_string())),
        (Ok(link), Ok(found)) => [link, found],
    };
    for found in &found {
        let folder = Folder {
            owner: found.uid(),
            group: found.gid(),
            // Nobody writes to a link; its owner can replace it.
            mode: if found.is_symlink() { 0 } else { found.mode() },
            last,
            closed,
        };
        if let Some(why) = danger(folder, geteuid().as_raw(), is_private) {
            return Err(refusal(place, &why));
        }
    }
    Ok(found.iter().all(|found| found.mode() & OTHERS_PASS == 0))
}

/// Who else can write to a folder, if anybody can. `is_private` says whether this user is the only
/// member of a group.
fn danger(folder: Folder, user: u32, is_private: impl Fn(u32) -> bool) -> Option<String> {
    let Folder { owner, group, .. } = folder;
    if owner != 0 && owner != user {
        return Some(format!("it belongs to user {}", user_name(owner)));
    }
    // The entry that matters in a sticky folder is checked next.
    if folder.closed || (folder.mode & STICKY != 0 && !folder.last) {
        return None;
    }
    if folder.mode & OTHERS_WRITE != 0 {
        return Some("everybody can write to it".to_owned());
    }
    let shared = folder.mode & GROUP_WRITES != 0 && group != 0 && !is_private(group);
    shared.then(|| format!("group {} can write to it", group_name(group)))
}

/// Whether this user is the only member of the group: distributions make such a group for each
/// user.
fn is_private(group: u32) -> bool {
    let user = User::from_uid(geteuid()).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(group)).ok().flatten();
    user.zip(group).is_some_and(|(user, group)| {
        group.name == user.name && group.mem.iter().all(|member| *member == user.name)
    })
}

fn user_name(id: u32) -> String {
    let user = User::from_uid(Uid::from_raw(id)).ok().flatten();
    user.map_or_else(|| id.to_string(), |user| user.name)
}

fn group_name(id: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(id)).ok().flatten();
    group.map_or_else(|| id.to_string(), |group| group.name)
}

fn refusal(place: &Path, why: &str) -> Error {
    Error::setup(format!(
        "'{}' may hold what others put there to be run: {why}",
        place.display()
    ))
    .cure(
        "set KUBENEST_CACHE to a folder that only this user can write to, such as one below their \
         home, or take the folder from the others (chown, chmod go-w)",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const USER: u32 = 1000;

    fn folder_of(owner: u32, mode: u32) -> Folder {
        Folder {
            owner,
            group: 1000,
            mode,
            last: false,
            closed: false,
        }
    }

    #[test]
    fn only_this_user_and_root_may_own_a_folder() {
        let judge = |owner| danger(folder_of(owner, 0o755), USER, |_| false);
        assert_eq!(judge(USER), None);
        assert_eq!(judge(0), None);
        let why = judge(4_000_000_000).unwrap();
        assert_eq!(why, "it belongs to user 4000000000");
        assert!(
            danger(folder_of(USER, 0o755), 0, |_| true).is_some(),
            "root minds"
        );
    }

    #[test]
    fn the_error_names_who_else_can_write() {
        let judge = |folder| danger(folder, USER, |group| group == 1000);
        let everybody = Some("everybody can write to it".to_owned());
        assert_eq!(judge(folder_of(USER, 0o777)), everybody);
        let sticky = folder_of(0, 0o1777);
        assert_eq!(judge(sticky), None, "what is there is another's in vain");
        let last = Folder {
            last: true,
            ..sticky
        };
        assert_eq!(judge(last), everybody, "anybody can make an entry there");
        let closed = Folder {
            closed: true,
            ..folder_of(USER, 0o777)
        };
        assert_eq!(judge(closed), None, "nobody else gets there");
        assert_eq!(judge(folder_of(USER, 0o775)), None, "a group of one's own");
        let shared = Folder {
            group: 4_000_000_000,
            ..folder_of(USER, 0o775)
        };
        let why = judge(shared).unwrap();
        assert_eq!(why, "group 4000000000 can write to it");
    }

    #[test]
    fn folders_above_it_and_on_the_path_of_a_link_are_checked() {
        // Everybody can enter /tmp; the user's own TMPDIR may be closed to others.
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let (open, cache) = (dir.path().join("open"), dir.path().join("open/a/cache"));
        check(&cache).unwrap();
        assert_eq!(cache.metadata().unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let link = dir.path().join("link");
        symlink(&cache, &link).unwrap();
        check(&link).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        for path in [&cache, &link, &cache.join("not/yet/there")] {
            let error = check_as_it_is(path).unwrap_err();
            assert!(error.to_string().contains("open' may hold"), "{error}");
            assert!(error.cure_text().unwrap().contains("KUBENEST_CACHE"));
        }
    }
}
