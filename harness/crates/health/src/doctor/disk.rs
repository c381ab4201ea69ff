//! Checks of the disks: free space, and who else can write to the cache.

use super::facts::{Disk, Facts};
use crate::health::Outcome;

/// Free bytes that a run needs: a cold build of the components and a node image stays below this; a
/// warm run needs less.
const BYTES_FLOOR: u64 = 10 << 30;
/// Percent in use at which a kubelet with default settings deletes images.
const PERCENT_CEILING: u64 = 85;

pub(super) fn disk(facts: &Facts) -> Outcome {
    let told = facts.disks.iter().map(describe);
    let observed = told.collect::<Vec<_>>().join(", ");
    if facts.disks.iter().any(is_full) {
        let cure =
            "free 10 GiB (kubenest clean, docker system prune), or set KUBENEST_CACHE elsewhere";
        return Outcome::failed(observed, cure);
    }
    // The last disk holds the engine's data, and so the data of its nodes.
    let data = facts.disks.last();
    if data.is_some_and(|disk| percent(disk) >= PERCENT_CEILING) {
        let mut outcome = Outcome::skipped(
            observed,
            "kubenest's nodes bear that; the kubelets of others, kind's too, delete images and \
             evict pods from 85 % on, and free nothing as the disk is the machine's",
        );
        outcome.cure = Some("free the machine's disk: docker system prune, old archives".into());
        return outcome;
    }
    Outcome::passed(observed)
}

/// Whether the settings can be used, and only this user can write to the cache.
pub(super) fn cache(facts: &Facts) -> Outcome {
    match &facts.settings {
        Ok(()) => Outcome::passed("only this user and root can write to it"),
        Err(error) => Outcome::failed(
            format!("{error:#}"),
            error.cure_text().unwrap_or("set KUBENEST_CACHE"),
        ),
    }
}

fn describe(disk: &Disk) -> String {
    let free = disk.bytes_free as f64 / 2_f64.powi(30);
    let inodes = if inodes_are_used_up(disk) {
        ", inodes nearly used up"
    } else {
        ""
    };
    let (folder, percent) = (disk.folder.display(), percent(disk));
    format!("{free:.1} GiB free at {folder} ({percent} % in use{inodes})")
}

/// Percent in use as a kubelet counts: space that only root may fill counts as used.
fn percent(disk: &Disk) -> u64 {
    100 - (disk.bytes_free * 100)
        .checked_div(disk.bytes)
        .unwrap_or(100)
}

fn is_full(disk: &Disk) -> bool {
    disk.bytes_free < BYTES_FLOOR || inodes_are_used_up(disk)
}

fn inodes_are_used_up(disk: &Disk) -> bool {
    disk.inodes > 0 && disk.inodes_free * 50 < disk.inodes
}

#[cfg(test)]
mod tests {
    use super::{
        super::facts::tests::{disk as a_disk, good},
        *,
    };
    use crate::health::Verdict;
    use kubenest_base::Error;

    fn judge(disks: Vec<Disk>) -> Outcome {
        disk(&Facts { disks, ..good() })
    }

    #[test]
    fn a_disk_needs_room_for_a_build() {
        let outcome = judge(vec![a_disk("/c", 40), a_disk("/d", 84)]);
        insta::assert_snapshot!(outcome.observed, @"600.0 GiB free at /c (40 % in use), 160.0 GiB free at /d (84 % in use)");
        assert_eq!(outcome.verdict, Verdict::Passed);
        assert_eq!(judge(vec![a_disk("/c", 100)]).verdict, Verdict::Failed);
        let mut files = a_disk("/c", 40);
        files.inodes_free = 19;
        let outcome = judge(vec![files]);
        assert_eq!(outcome.verdict, Verdict::Failed);
        assert!(outcome.observed.contains("inodes nearly used up"));
    }

    #[test]
    fn from_85_percent_on_other_kubelets_delete() {
        let outcome = judge(vec![a_disk("/c", 40), a_disk("/d", 85)]);
        assert!(matches!(outcome.verdict, Verdict::Skipped(_)));
        assert!(outcome.cure.is_some());
        let small_cache = judge(vec![a_disk("/c", 90), a_disk("/d", 40)]);
        assert_eq!(small_cache.verdict, Verdict::Passed);
    }

    #[test]
    fn a_cache_of_others_is_told_with_its_cure() {
        let error = Error::setup("'/c' may hold what others put there").cure("chmod go-w");
        let facts = Facts {
            settings: Err(error),
            ..good()
        };
        assert_eq!(cache(&facts).cure.as_deref(), Some("chmod go-w"));
        assert_eq!(cache(&good()).verdict, Verdict::Passed);
    }
}
