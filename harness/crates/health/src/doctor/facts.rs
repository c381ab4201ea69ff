//! The facts that the checks judge; the checks look at nothing else.

use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};

use semver::Version;

use kubenest_base::{Result, settings::ProxyEnv, wait::Patience};
use kubenest_docker::Nature;

/// All that the checks judge.
pub(super) struct Facts {
    /// The engine that a boot would use, or why there is none.
    pub(super) engine: Result<Engine>,
    /// Whether the settings, and the cache that they name, can be used.
    pub(super) settings: Result<()>,
    /// The disks of the folders that grow.
    pub(super) disks: Vec<Disk>,
    /// The time by this machine's clock.
    pub(super) now: SystemTime,
    /// The factor of every deadline.
    pub(super) patience: Patience,
    /// The proxy settings of this process.
    pub(super) proxy: ProxyEnv,
    /// Facts of a Linux machine, if the engine runs on this machine.
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
    /// The Kubernetes version of the default node image.
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
    /// The most tasks that the kernel allows at once.
    pub(super) tasks_limit: Option<u64>,
    /// `pids.current` and `pids.max` of the control group that this process sees.
    pub(super) group_tasks: Option<(u64, u64)>,
    /// The most user namespaces that the kernel allows.
    pub(super) user_namespaces: Option<u64>,
    /// `/proc/self/attr/current`: the profile that confines this process.
    pub(super) apparmor: String,
    /// `/proc/net/route`.
    pub(super) routes: String,
    pub(super) iptables: Iptables,
    /// Whether there is IPv6, and it is not switched off.
    pub(super) ipv6: bool,
    /// Whether the kernel's log can be read where the kubelet looks for it.
    pub(super) kmsg: bool,
    /// Whether the overlay file system is available, or can be loaded.
    pub(super) overlay: bool,
    /// Whether br_netfilter is available, or can be loaded.
    pub(super) br_netfilter: bool,
}

/// The control groups that this process sees.
#[derive(Default)]
pub(super) struct Cgroups {
    /// Whether they are of version 2.
    pub(super) unified: bool,
    pub(super) controllers: Vec<String>,
}

/// The limits of inotify, and how much of them is used.
#[derive(Default)]
pub(super) struct Inotifies {
    pub(super) instances: Option<u64>,
    pub(super) watches: Option<u64>,
    /// Instances and watches by user; `None` when this user may not see them.
    pub(super) used: Option<BTreeMap<u32, (u64, u64)>>,
    /// How many more instances root could have, when that was tried.
    pub(super) room: Option<u64>,
}

/// The iptables of this machine.
#[derive(Default)]
pub(super) struct Iptables {
    /// The version that the program prints, and why the program does not work, if it was tried.
    pub(super) version: Option<(String, Option<String>)>,
    /// The tables of the legacy kind that some program has made.
    pub(super) legacy: String,
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// A machine that can run nodes, such as an ordinary server.
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
                    room: Some(32),
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
