//! What the checks look at; they themselves look at nothing else.

use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};

use semver::Version;

use kubenest_base::{Result, settings::ProxyEnv, wait::Patience};
use kubenest_docker::Nature;

/// All that the checks judge.
pub(super) struct Facts {
    /// The engine that a boot would take, or why there is none.
    pub(super) engine: Result<Engine>,
    /// Whether the settings, and the cache that they name, can be used.
    pub(super) settings: Result<()>,
    /// Folders that fill up, each with its disk.
    pub(super) disks: Vec<Disk>,
    /// The time by this machine's clock.
    pub(super) now: SystemTime,
    /// The factor of every deadline.
    pub(super) patience: Patience,
    /// What stands between this process and the network.
    pub(super) proxy: ProxyEnv,
    /// What only a Linux machine has, when the engine's is this one.
    pub(super) machine: Machine,
}

/// An engine that answers.
pub(super) struct Engine {
    pub(super) nature: Nature,
    /// `1` or `2`.
    pub(super) cgroup_version: String,
}

/// A disk, by a folder on it.
pub(super) struct Disk {
    pub(super) folder: PathBuf,
    pub(super) bytes: u64,
    pub(super) bytes_free: u64,
    pub(super) inodes: u64,
    pub(super) inodes_free: u64,
}

/// What the kernel of this machine says.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) cgroups: Cgroups,
    /// The Kubernetes of the node that a spec takes which names none.
    pub(super) default_kubernetes: Option<Version>,
    /// `/proc/self/status`.
    pub(super) status: String,
    pub(super) inotify: Inotifies,
    /// The user of this process.
    pub(super) user: u32,
    /// `/proc/key-users`.
    pub(super) key_users: String,
    /// `/proc/loadavg`.
    pub(super) load: String,
    /// The most tasks that the kernel has at once.
    pub(super) tasks_limit: Option<u64>,
    /// `pids.current` and `pids.max` of the control group that this process is shown.
    pub(super) group_tasks: Option<(u64, u64)>,
    /// The most user namespaces.
    pub(super) user_namespaces: Option<u64>,
    /// `/proc/self/attr/current`: the profile that confines this process.
    pub(super) apparmor: String,
    /// `/proc/net/route`.
    pub(super) routes: String,
    pub(super) iptables: Iptables,
    /// There is IPv6, and it is not switched off.
    pub(super) ipv6: bool,
    /// The kernel's log can be read where the kubelet looks for it.
    pub(super) kmsg: bool,
    /// The overlay file system is there, or can be loaded.
    pub(super) overlay: bool,
    /// br_netfilter is there, or can be loaded.
    pub(super) br_netfilter: bool,
}

/// Control groups as this process is shown them.
#[derive(Default)]
pub(super) struct Cgroups {
    /// They are of version 2.
    pub(super) unified: bool,
    pub(super) controllers: Vec<String>,
}

/// Limits of inotify, and what is used of them.
#[derive(Default)]
pub(super) struct Inotifies {
    pub(super) instances: Option<u64>,
    pub(super) watches: Option<u64>,
    /// Instances and watches by user; none when they are not for this user to see.
    pub(super) used: Option<BTreeMap<u32, (u64, u64)>>,
    /// How many more instances root could have, when that was tried.
    pub(super) room: Option<u64>,
}

/// What iptables this machine has.
#[derive(Default)]
pub(super) struct Iptables {
    /// What the program says of its version, and why it does not work, when that was tried.
    pub(super) version: Option<(String, Option<String>)>,
    /// Tables of the older kind that something has made.
    pub(super) legacy: String,
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// A machine on which nodes run, as an ordinary server is.
    pub(crate) fn good() -> Facts {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        Facts {
            engine: Ok(Engine {
                nature: Nature {
                    name: "Docker 28.0.4".into(),
                    runc: Some("1.2.5".into()),
                    clock: Some((now, now)),
                    ..Nature::default()
                },
                cgroup_version: "2".into(),
            }),
            settings: Ok(()),
            disks: vec![
                disk("/home/u/.cache/kubenest", 40),
                disk("/var/lib/docker", 40),
            ],
            now,
            patience: Patience {
                factor: 1.0,
                reason: "as on an ordinary machine".into(),
            },
            proxy: ProxyEnv::default(),
            machine: Machine {
                cgroups: Cgroups {
                    unified: true,
                    controllers: ["cpu", "memory", "pids"].map(str::to_owned).into(),
                },
                default_kubernetes: Some(Version::new(1, 32, 2)),
                status: "CapBnd:\t000001ffffffffff\n".into(),
                inotify: Inotifies {
                    instances: Some(128),
                    watches: Some(65536),
                    used: Some([(0, (10, 100))].into()),
                    room: Some(24),
                },
                user: 1000,
                key_users: "    0:     9 8/8 3/1000000 40/25000000\n".into(),
                load: "0.10 0.20 0.30 1/345 6789\n".into(),
                tasks_limit: Some(32768),
                group_tasks: None,
                user_namespaces: Some(96365),
                apparmor: "unconfined\n".into(),
                routes: String::new(),
                iptables: Iptables {
                    version: Some(("iptables v1.8.9 (nf_tables)".into(), None)),
                    legacy: String::new(),
                },
                ipv6: true,
                kmsg: true,
                overlay: true,
                br_netfilter: true,
            },
        }
    }

    pub(crate) fn disk(folder: &str, percent_used: u64) -> Disk {
        let bytes = 1000 << 30;
        Disk {
            folder: folder.into(),
            bytes,
            bytes_free: bytes / 100 * (100 - percent_used),
            inodes: 1000,
            inodes_free: 900,
        }
    }
}
