//! The room of this machine for clusters: how many boots and exclusive clusters it takes at a time,
//! and whether one more fits.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kubenest_base::{
    Context, Result,
    lock::{self, FileLock},
    machine::Machine,
    progress,
    wait::{self, Probe},
};
use kubenest_docker::Lease;
use kubenest_health::doctor;
use kubenest_node::node::Role;

use super::{NodeSpec, site::Site};

/// What a control plane needs, with what a test runs on it.
const CONTROL_PLANE: Room = Room {
    memory: 1300 << 20,
    instances: doctor::INSTANCES_FLOOR,
};
/// What a worker needs, with what a test runs on it.
const WORKER: Room = Room {
    memory: 500 << 20,
    instances: 18,
};
/// How long nobody may hold a lease between two tests that run one after the other.
const BETWEEN_TESTS: Duration = Duration::from_secs(10);
/// How long a boot waits for room: other tests end meanwhile.
const ROOM: Duration = Duration::from_secs(300);

/// How many clusters of these nodes may be in use at a time, each by one test: at least one.
pub(super) fn exclusive_clusters(nodes: &[NodeSpec]) -> usize {
    exclusive_clusters_of(Machine::this(), Room::needed(nodes))
}

fn exclusive_clusters_of(machine: Machine, needed: Room) -> usize {
    let by_memory = usize::try_from(machine.memory / needed.memory.max(1)).unwrap_or(usize::MAX);
    machine.cores.min(by_memory).max(1)
}

/// Waits until this machine has a core and room for the boot of these nodes. The turn is given up
/// when the lock is dropped. A boot on another machine waits for nothing.
///
/// All boots of a user take turns, whatever their caches: they share the machine's cores and the
/// user's limits. Where there is no room, clusters that nobody holds end first.
///
/// # Errors
/// No boot ends for hours, or there is no room after five minutes.
pub(super) async fn turn_to_boot(site: &Site, nodes: &[NodeSpec]) -> Result<Option<FileLock>> {
    if site.docker.socket().is_none() {
        return Ok(None);
    }
    let folder = site.settings.run_folder().join("room");
    let turns = files(&folder, "boot", Machine::this().cores);
    let turn = FileLock::any(&turns, "a turn to boot a cluster", lock::LONGEST).await?;
    let needed = Room::needed(nodes);
    let what = format!("room for cluster '{}'", site.name);
    let mut told = false;
    let fits = wait::until(&what, ROOM, || {
        let lack = match claim(&turn, &turns, needed, Room::now()) {
            Ok(lack) => lack,
            Err(error) => return std::future::ready(Probe::Failed(error)),
        };
        let Some(lack) = lack else {
            return std::future::ready(Probe::Ready(()));
        };
        if !std::mem::replace(&mut told, true) {
            progress!("cluster '{}' waits for room: {lack}", site.name);
        }
        std::future::ready(match end_idle(site) {
            Ok(()) => Probe::Pending(lack),
            Err(error) => Probe::Failed(error),
        })
    });
    fits.await.map_err(|error| {
        error.cure(
            "end clusters (kubenest list, kubenest down), run fewer tests at once, or raise \
                    the limit: sysctl fs.inotify.max_user_instances=1024",
        )
    })?;
    Ok(Some(turn))
}

/// Claims room for a boot that has this turn, unless too little is free without what the boots of
/// the other turns have claimed: they have not taken all of it yet.
///
/// Says what there is too little of.
fn claim(
    turn: &FileLock,
    turns: &[PathBuf],
    needed: Room,
    mut free: Room,
) -> Result<Option<String>> {
    let claims = turn.path().with_file_name("claims.lock");
    let Some(_one_at_a_time) = FileLock::try_exclusive(&claims, "the claims of boots")? else {
        return Ok(Some("another boot claims its room".to_owned()));
    };
    for other in turns.iter().filter(|other| *other != turn.path()) {
        if FileLock::try_exclusive(other, "a look at the claims of boots")?.is_none() {
            free = free.saturating_sub(Room::claim_of(other));
        }
    }
    let lack = free.lack(needed);
    let claimed = match lack {
        None => needed,
        Some(_) => Room::default(),
    };
    claimed.note(turn.path())?;
    Ok(lack.map(|lack| lack.to_string()))
}

/// The files whose locks are the turns of this cache.
pub(super) fn locks(site: &Site, name: &str, most: usize) -> Vec<PathBuf> {
    files(&site.settings.cache.join("locks"), name, most)
}

fn files(folder: &Path, name: &str, most: usize) -> Vec<PathBuf> {
    let files = (0..most).map(|at| folder.join(format!("{name}-{at}.lock")));
    files.collect()
}

/// Ends the lease that nobody has held for longest, unless another is on its way out.
fn end_idle(site: &Site) -> Result<()> {
    let all = Lease::all(&site.settings.cache)?.into_iter();
    let all: Vec<_> = all.map(|lease| (lease.state(), lease)).collect();
    if all
        .iter()
        .any(|(state, _)| state.ended.is_some() && state.holders.is_empty())
    {
        return Ok(());
    }
    let settled = all
        .into_iter()
        .filter(|(_, lease)| lease.record().is_some());
    let idle = settled.filter_map(|(state, lease)| Some((state.idle?, lease)));
    let idle = idle.filter(|(idle, _)| *idle >= BETWEEN_TESTS);
    match idle.max_by_key(|(idle, _)| *idle) {
        Some((_, lease)) => lease
            .end_unless_held("another cluster needs its room")
            .map(drop),
        None => Ok(()),
    }
}

/// What limits how many clusters a machine has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes.
    pub(super) memory: u64,
    /// Instances of inotify, which all processes of one user share.
    instances: u64,
}

/// What there is too little of.
#[derive(Debug, PartialEq, Eq)]
struct Lack {
    free: Room,
    needed: Room,
}

impl Room {
    /// What is free on this machine; without limit where that cannot be seen.
    fn now() -> Self {
        Self {
            memory: match Machine::this().memory {
                0 => u64::MAX,
                known => known,
            },
            instances: doctor::free_inotify_instances().unwrap_or(u64::MAX),
        }
    }

    /// What a cluster of these nodes needs.
    pub(super) fn needed(nodes: &[NodeSpec]) -> Self {
        let nodes = nodes.iter().map(|node| match node.role {
            Role::ControlPlane => CONTROL_PLANE,
            Role::Worker => WORKER,
        });
        nodes.fold(Self::default(), |sum, node| Self {
            memory: sum.memory + node.memory,
            instances: sum.instances + node.instances,
        })
    }

    /// What the boot that has this turn has claimed.
    fn claim_of(turn: &Path) -> Self {
        let noted = fs::read_to_string(turn.with_extension("claim")).unwrap_or_default();
        let mut numbers = noted.split_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(memory)), Some(Ok(instances))) => Self { memory, instances },
            // Its holder has not come to claim anything.
            _ => Self::default(),
        }
    }

    /// Notes it as the claim of the boot that has this turn.
    fn note(self, turn: &Path) -> Result<()> {
        let claim = turn.with_extension("claim");
        fs::write(&claim, format!("{} {}\n", self.memory, self.instances))
            .with_context(|| format!("write '{}'", claim.display()))
    }

    fn saturating_sub(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_sub(other.memory),
            instances: self.instances.saturating_sub(other.instances),
        }
    }

    fn lack(self, needed: Self) -> Option<Lack> {
        let fits = self.memory >= needed.memory && self.instances >= needed.instances;
        (!fits).then_some(Lack { free: self, needed })
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { free, needed } = self;
        let mib = |bytes: u64| bytes >> 20;
        let mut parts = Vec::new();
        if free.memory < needed.memory {
            let (free, needed) = (mib(free.memory), mib(needed.memory));
            parts.push(format!("{free} MiB of memory are free, {needed} needed"));
        }
        if free.instances < needed.instances {
            let (free, needed) = (free.instances, needed.instances);
            parts.push(format!(
                "{free} instances of inotify are free, {needed} needed"
            ));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterSpec;

    #[test]
    fn cores_and_memory_decide_how_many_clusters_are_in_use() {
        let needed = Room::needed(&ClusterSpec::with_workers(1).nodes);
        let most = |cores, gib: u64| {
            let memory = gib << 30;
            exclusive_clusters_of(Machine { cores, memory }, needed)
        };
        assert_eq!(most(2, 24), 2);
        assert_eq!(most(16, 9), 5);
        assert_eq!(most(1, 1), 1, "one there is always");
    }

    #[test]
    fn what_another_boot_has_claimed_is_not_free() {
        let folder = tempfile::tempdir().unwrap();
        let turns = files(folder.path(), "boot", 2);
        let turn = |at: usize| {
            let turn = FileLock::try_exclusive(&turns[at], "a turn").unwrap();
            turn.expect("it must be free")
        };
        let (one, other) = (turn(0), turn(1));
        let room = |instances| Room {
            memory: 2 << 30,
            instances,
        };
        let free = Room {
            memory: 5 << 30,
            instances: 60,
        };
        let claim = |turn: &FileLock, needed| claim(turn, &turns, needed, free).unwrap();
        assert_eq!(claim(&one, room(48)), None);
        let lack = claim(&other, room(24)).expect("too little must be free");
        assert_eq!(lack, "12 instances of inotify are free, 24 needed");
        drop(one);
        assert_eq!(claim(&other, room(24)), None, "a claim ends with its turn");
    }

    #[test]
    fn what_is_too_little_is_named() {
        let needed = Room::needed(&ClusterSpec::single_node().nodes);
        let lack = |memory, instances| {
            let lack = Room { memory, instances }.lack(needed);
            lack.map(|lack| lack.to_string())
        };
        assert_eq!(lack(2 << 30, 32), None);
        insta::assert_snapshot!(
            lack(1 << 30, 20).unwrap(),
            @"1024 MiB of memory are free, 1300 needed; 20 instances of inotify are free, 32 needed"
        );
        insta::assert_snapshot!(
            lack(2 << 30, 20).unwrap(),
            @"20 instances of inotify are free, 32 needed"
        );
    }
}
