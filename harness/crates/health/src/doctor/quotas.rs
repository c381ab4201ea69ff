//! Checks of the kernel's limits for one user: inotify, keys, tasks, user namespaces.

use std::fmt;

use super::facts::Facts;
use crate::health::{INOTIFY_CURE, Outcome};

/// The instances of inotify that a control plane's node and its pods take: systemd has 5, the kubelet
/// 7, the API server and the controller manager 6 each.
pub const INSTANCES_FLOOR: u64 = 32;
/// What one node and its pods take.
const WATCHES_FLOOR: u64 = 4096;
/// The keys that one node and its pods need: a keyring for each container.
const KEYS_FLOOR: u64 = 24;
/// The bytes that those keyrings need.
const KEY_BYTES_FLOOR: u64 = 2000;
/// What one node and its pods take.
const TASKS_FLOOR: u64 = 512;

/// Root in the nodes is root of the machine, and shares its limits with everything that root runs.
pub(super) fn inotify(facts: &Facts) -> Outcome {
    let inotify = &facts.machine.inotify;
    let (Some(instances), Some(watches)) = (inotify.instances, inotify.watches) else {
        return Outcome::failed("no limits in /proc/sys/fs/inotify", "mount /proc");
    };
    let Some(used) = &inotify.used else {
        return Outcome::when(
            instances >= INSTANCES_FLOOR && watches >= WATCHES_FLOOR,
            format!(
                "{instances} instances and {watches} watches allowed; how many of them root has in \
                 use is for root to see"
            ),
            INOTIFY_CURE,
        );
    };
    let (own, watched) = used.get(&0).copied().unwrap_or_default();
    let mut observed = format!(
        "root has {own} of {instances} instances and {watched} of {watches} watches in use"
    );
    let has_room = inotify.room.is_none_or(|room| room >= INSTANCES_FLOOR);
    if !has_room && own + INSTANCES_FLOOR <= instances {
        let room = inotify.room.unwrap_or_default();
        observed.push_str(&format!(
            ", but gets only {room} more: the others are in use where this process does not see"
        ));
    }
    let fits = own + INSTANCES_FLOOR <= instances && watched + WATCHES_FLOOR <= watches;
    Outcome::when(fits && has_room, observed, INOTIFY_CURE)
}

/// Keys, tasks and user namespaces.
pub(super) fn quotas(facts: &Facts) -> Outcome {
    let machine = &facts.machine;
    let users = machine.key_users.lines().filter_map(KeyUser::read);
    let (own, others): (Vec<_>, Vec<_>) = users
        .filter(KeyUser::is_short)
        .partition(|user| [0, machine.user].contains(&user.id));
    if let Some(user) = own.first() {
        let cure = "sysctl kernel.keys.maxkeys=2000 kernel.keys.maxbytes=2000000; of the machine's \
                    own root kernel.keys.root_maxkeys=1000000 kernel.keys.root_maxbytes=25000000";
        return Outcome::failed(user.to_string(), cure);
    }
    let tasks = tasks(&machine.load);
    let limits = [
        tasks.zip(machine.tasks_limit).map(|limit| {
            let cure = "sysctl kernel.pid_max=4194304 kernel.threads-max=4194304";
            ("the machine", limit, cure)
        }),
        machine.group_tasks.map(|limit| {
            let cure = "run the container or service that this is in with a higher limit \
                        (docker run --pids-limit, TasksMax=)";
            ("the control group of this process", limit, cure)
        }),
    ];
    for (whose, (used, most), cure) in limits.into_iter().flatten() {
        if used + TASKS_FLOOR > most {
            return Outcome::failed(format!("{whose} has {used} of {most} tasks"), cure);
        }
    }
    let mut observed = "keys and tasks have room for a node".to_owned();
    if machine.user_namespaces == Some(0) {
        observed.push_str(", but no user namespaces: pods with `hostUsers: false` do not start");
    }
    // Containers that this user runs are refused a keyring.
    for user in others {
        observed.push_str(&format!("; {user}"));
    }
    Outcome::passed(observed)
}

/// One line of `/proc/key-users`: the use of a quota, and the quota.
struct KeyUser {
    id: u32,
    keys: (u64, u64),
    bytes: (u64, u64),
}

impl KeyUser {
    fn read(line: &str) -> Option<Self> {
        let (id, rest) = line.split_once(':')?;
        let mut fields = rest.split_whitespace().skip(2);
        let mut quota = || {
            let (used, most) = fields.next()?.split_once('/')?;
            Some((used.parse().ok()?, most.parse().ok()?))
        };
        Some(Self {
            id: id.trim().parse().ok()?,
            keys: quota()?,
            bytes: quota()?,
        })
    }

    fn is_short(&self) -> bool {
        self.keys.0 + KEYS_FLOOR > self.keys.1 || self.bytes.0 + KEY_BYTES_FLOOR > self.bytes.1
    }
}

impl fmt::Display for KeyUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, keys, bytes) = (self.id, self.keys, self.bytes);
        write!(
            f,
            "user {id} has {} of {} keys and {} of {} bytes of keys in use",
            keys.0, keys.1, bytes.0, bytes.1
        )
    }
}

/// The number of tasks in `/proc/loadavg`: in `0.10 0.20 0.30 1/345 6789` it is 345.
fn tasks(load: &str) -> Option<u64> {
    let (_, all) = load.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{
        super::facts::{Inotifies, tests::good},
        *,
    };
    use crate::health::Verdict;

    fn judge(change: impl FnOnce(&mut Inotifies)) -> Outcome {
        let mut facts = good();
        change(&mut facts.machine.inotify);
        inotify(&facts)
    }

    #[test]
    fn inotify_needs_room_for_a_node_beside_what_root_has() {
        assert_eq!(judge(|_| {}).verdict, Verdict::Passed);
        // A machine whose limit is ten above the current use.
        let full = judge(|inotify| {
            inotify.used = Some([(0, (118, 3000)), (1000, (500, 1))].into());
            inotify.room = Some(10);
        });
        insta::assert_snapshot!(full.observed, @"root has 118 of 128 instances and 3000 of 65536 watches in use");
        assert_eq!(full.verdict, Verdict::Failed);
        assert!(full.cure.unwrap().contains("fs.inotify.max_user_instances"));
        let watched = judge(|i| i.used = Some([(0, (10, 65000))].into()));
        assert_eq!(watched.verdict, Verdict::Failed);
        assert_eq!(judge(|i| i.watches = Some(1000)).verdict, Verdict::Failed);
        assert_eq!(judge(|i| i.instances = None).verdict, Verdict::Failed);
    }

    #[test]
    fn what_other_namespaces_use_is_noticed() {
        let outcome = judge(|inotify| inotify.room = Some(3));
        assert_eq!(outcome.verdict, Verdict::Failed);
        assert!(outcome.observed.contains("gets only 3 more"), "{outcome:?}");
    }

    #[test]
    fn an_ordinary_user_is_told_what_only_root_sees() {
        let outcome = judge(|inotify| (inotify.used, inotify.room) = (None, None));
        assert_eq!(outcome.verdict, Verdict::Passed);
        assert!(outcome.observed.contains("for root to see"), "{outcome:?}");
    }

    #[test]
    fn a_user_whose_keys_are_used_up_is_named() {
        let keys = |user: u32, text: &str| {
            let mut facts = good();
            (facts.machine.user, facts.machine.key_users) = (user, text.to_owned());
            quotas(&facts)
        };
        let of_1000 = "    0: 9 8/8 3/1000000 40/25000000\n 1000: 198 1/1 197/200 9000/20000\n";
        let outcome = keys(1000, of_1000);
        insta::assert_snapshot!(outcome.observed, @"user 1000 has 197 of 200 keys and 9000 of 20000 bytes of keys in use");
        assert_eq!(outcome.verdict, Verdict::Failed);
        assert!(outcome.cure.unwrap().contains("kernel.keys.maxkeys"));
        let others = keys(0, of_1000);
        assert_eq!(others.verdict, Verdict::Passed, "nodes are root's");
        assert!(others.observed.contains("user 1000 has 197"), "{others:?}");
        // Root in an LXC container has the same quota as any other user.
        let bytes = keys(1000, "    0: 9 8/8 30/200 19500/20000\n");
        assert_eq!(bytes.verdict, Verdict::Failed);
        assert_eq!(keys(0, "no such line\n").verdict, Verdict::Passed);
    }

    #[test]
    fn tasks_are_counted_on_the_machine_and_in_the_group() {
        let tasks = |load: &str, group| {
            let mut facts = good();
            (facts.machine.load, facts.machine.group_tasks) = (load.to_owned(), group);
            quotas(&facts)
        };
        assert_eq!(
            tasks("0 0 0 1/345 6", Some((10, 4000))).verdict,
            Verdict::Passed
        );
        let machine = tasks("0 0 0 1/32500 6", None);
        assert_eq!(machine.observed, "the machine has 32500 of 32768 tasks");
        assert_eq!(machine.verdict, Verdict::Failed);
        let group = tasks("0 0 0 1/345 6", Some((100, 512)));
        assert_eq!(group.verdict, Verdict::Failed);
        assert!(group.cure.unwrap().contains("--pids-limit"));
    }

    #[test]
    fn without_user_namespaces_some_pods_do_not_start() {
        let mut facts = good();
        facts.machine.user_namespaces = Some(0);
        let outcome = quotas(&facts);
        assert!(outcome.observed.contains("hostUsers"), "{outcome:?}");
    }
}
