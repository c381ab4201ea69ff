//! Host checks: can this machine run nodes at all, before anything is built or booted.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::sys::statvfs::statvfs;

use crate::{
    Result,
    health::{INOTIFY_CURE, Outcome, Report},
    settings::settings,
};

/// A cold build of the components and a node image stays below this; a warm run needs less.
const BYTES_FLOOR: u64 = 10 << 30;
/// What one node and its pods take.
const INSTANCES_FLOOR: u64 = 24;
/// What one node and its pods take.
const WATCHES_FLOOR: u64 = 4096;
/// The start of 2025; a clock before it was never set, and no certificate is valid.
const CLOCK_FLOOR: u64 = 1_735_689_600;
/// Where engines take their networks from: Docker's own defaults, then the embedded engine's.
const POOLS: [Subnet; 3] = [
    Subnet {
        at: Ipv4Addr::new(172, 16, 0, 0),
        prefix: 12,
    },
    Subnet {
        at: Ipv4Addr::new(192, 168, 0, 0),
        prefix: 16,
    },
    Subnet {
        at: Ipv4Addr::new(10, 208, 0, 0),
        prefix: 12,
    },
];
/// Capabilities that an engine with privileged containers cannot do without, by bit.
const CAPABILITIES: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (18, "CAP_SYS_CHROOT"),
    (21, "CAP_SYS_ADMIN"),
    (27, "CAP_MKNOD"),
];
const CAP_SYS_RESOURCE: u32 = 24;

/// Checks this machine. `engine` says which Docker engine was found, or why none was.
pub fn host_checks(engine: Result<String>) -> Report {
    let mut outcomes = vec![
        ("engine", judge_engine(&engine)),
        ("disk", judge_disk(&settings().cache)),
        ("clock", judge_clock(SystemTime::now())),
    ];
    // Elsewhere the engine has a Linux machine of its own, which is not ours to look at.
    if cfg!(target_os = "linux") {
        outcomes.extend([
            ("cgroup", judge_cgroup(Path::new("/sys/fs/cgroup"))),
            (
                "capabilities",
                judge_capabilities(&read("/proc/self/status"), engine.is_ok()),
            ),
            (
                "inotify",
                judge_inotify(limit("instances"), instances_used(), limit("watches")),
            ),
            ("subnets", judge_subnets(&read("/proc/net/route"))),
            ("kmsg", judge_kmsg(Path::new("/dev/kmsg"))),
            ("modules", judge_modules(Path::new("/"))),
        ]);
    }
    let findings = outcomes
        .into_iter()
        .map(|(name, outcome)| outcome.on("host", name));
    Report {
        findings: findings.collect(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Subnet {
    at: Ipv4Addr,
    prefix: u32,
}

impl Subnet {
    fn covers(self, other: Self) -> bool {
        let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
        self.prefix <= other.prefix && self.at.to_bits() & mask == other.at.to_bits() & mask
    }
}

fn judge_engine(engine: &Result<String>) -> Outcome {
    match engine {
        Ok(engine) => Outcome::passed(engine),
        Err(error) => Outcome::failed(
            error.to_string(),
            error
                .cure_text()
                .unwrap_or("start a Docker engine, or run as root on Linux"),
        ),
    }
}

fn judge_disk(cache: &Path) -> Outcome {
    let (mut observed, mut ok) = (Vec::new(), true);
    // The embedded engine keeps its data in the cache, Docker's own in the second folder.
    for folder in [cache, Path::new("/var/lib/docker")] {
        let existing = folder.ancestors().find(|folder| folder.is_dir());
        let Some(Ok(stat)) = existing.map(statvfs) else {
            continue;
        };
        if folder != cache && !folder.is_dir() {
            continue;
        }
        let free = stat.blocks_available() * stat.fragment_size();
        observed.push(format!(
            "{:.1} GiB free at {}",
            free as f64 / 2_f64.powi(30),
            folder.display()
        ));
        ok &= free >= BYTES_FLOOR;
        if stat.files() > 0 && stat.files_available() * 50 < stat.files() {
            observed.push(format!("inodes are nearly used up at {}", folder.display()));
            ok = false;
        }
    }
    let cure = "free 10 GiB (kubenest clean, docker system prune), or set KUBENEST_CACHE elsewhere";
    Outcome::when(ok, observed.join(", "), cure)
}

fn judge_clock(now: SystemTime) -> Outcome {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let set = seconds >= CLOCK_FLOOR;
    let observed = if set { "set" } else { "before 2025: never set" };
    Outcome::when(
        set,
        observed,
        "set the clock: certificates made now would be valid in the past",
    )
}

fn judge_cgroup(root: &Path) -> Outcome {
    let cure = "mount cgroups at /sys/fs/cgroup with cpu, memory and pids (boot parameters, or \
                the privileges of the container this runs in)";
    let (mode, controllers) = match fs::read_to_string(root.join("cgroup.controllers")) {
        Ok(controllers) => ("v2", controllers),
        Err(_) => (
            "v1",
            ["cpu", "memory", "pids"].map(|c| named(root, c)).join(" "),
        ),
    };
    let has = |name: &str| {
        controllers
            .split_whitespace()
            .any(|controller| controller == name)
    };
    let missing: Vec<_> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|name| !has(name))
        .collect();
    match missing.as_slice() {
        [] => Outcome::passed(mode),
        _ => Outcome::failed(format!("{mode} without {}", missing.join(", ")), cure),
    }
}

/// The controller's name when it is mounted under the root.
fn named<'a>(root: &Path, controller: &'a str) -> &'a str {
    if root.join(controller).is_dir() {
        controller
    } else {
        ""
    }
}

/// `engine_found`: it has capabilities of its own, whatever this process may do.
fn judge_capabilities(status: &str, engine_found: bool) -> Outcome {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let Some(set) = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()) else {
        return Outcome::failed("no CapBnd in /proc/self/status", "mount /proc");
    };
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| set & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        let observed = format!("bounding set without {}", missing.join(", "));
        if engine_found {
            return Outcome::skipped(observed, "the engine has its own");
        }
        let cure = "run privileged: the embedded engine starts privileged containers";
        return Outcome::failed(observed, cure);
    }
    Outcome::passed(match set & (1 << CAP_SYS_RESOURCE) {
        0 => "no CAP_SYS_RESOURCE: Docker must be 26 or newer; nodes set restrict_oom_score_adj",
        _ => "bounding set has all that nodes need",
    })
}

fn judge_inotify(instances: Option<u64>, used: Option<u64>, watches: Option<u64>) -> Outcome {
    let (Some(instances), Some(watches)) = (instances, watches) else {
        return Outcome::failed("no limits in /proc/sys/fs/inotify", "mount /proc");
    };
    let in_use = used.map_or_else(|| "unknown".to_owned(), |used| used.to_string());
    Outcome::when(
        used.unwrap_or(0) + INSTANCES_FLOOR <= instances && watches >= WATCHES_FLOOR,
        format!("{in_use} of {instances} instances in use, {watches} watches allowed"),
        INOTIFY_CURE,
    )
}

/// An engine passes over what the host routes elsewhere, so only a whole pool lost is trouble.
fn judge_subnets(routes: &str) -> Outcome {
    let routes: Vec<_> = routes
        .lines()
        .filter_map(route)
        .filter(|(net, _)| net.prefix > 0)
        .collect();
    let lost = POOLS.map(|pool| routes.iter().find(|(net, _)| net.covers(pool)));
    if lost.iter().all(Option::is_some) {
        let mut devices: Vec<_> = lost.iter().flatten().map(|(_, device)| *device).collect();
        devices.sort_unstable();
        devices.dedup();
        let observed = format!(
            "host routes by {} cover every address pool",
            devices.join(", ")
        );
        let cure = "give the engine default-address-pools that the host does not route";
        return Outcome::failed(observed, cure);
    }
    Outcome::passed(format!(
        "{} host routes leave room for node networks",
        routes.len()
    ))
}

/// Destination and device of one line of `/proc/net/route`.
fn route(line: &str) -> Option<(Subnet, &str)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    // Numbers are in network order, printed as the machine reads them.
    let number = |field: usize| {
        let value = u32::from_str_radix(fields.get(field)?, 16).ok()?;
        Some(u32::from_be_bytes(value.to_ne_bytes()))
    };
    let (at, mask) = (Ipv4Addr::from_bits(number(1)?), number(7)?);
    Some((
        Subnet {
            at,
            prefix: mask.count_ones(),
        },
        fields[0],
    ))
}

fn judge_kmsg(path: &Path) -> Outcome {
    let device = fs::metadata(path).is_ok_and(|file| file.file_type().is_char_device());
    let observed = if device {
        "there"
    } else {
        "no device /dev/kmsg: the kubelet reads it"
    };
    Outcome::when(
        device,
        observed,
        "mknod /dev/kmsg c 1 11, or give the container the device",
    )
}

/// Modules that are loaded, built in, or there to be loaded.
fn judge_modules(root: &Path) -> Outcome {
    let at = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let release = at("proc/sys/kernel/osrelease");
    let on_disk = at(&format!("lib/modules/{}/modules.dep", release.trim()));
    let overlay = at("proc/filesystems")
        .lines()
        .any(|line| line.ends_with("\toverlay"))
        || on_disk.contains("/overlay.ko");
    let bridge = root.join("proc/sys/net/bridge").is_dir() || on_disk.contains("/br_netfilter.ko");
    match (overlay, bridge) {
        (true, true) => Outcome::passed("overlay and br_netfilter are available"),
        (false, _) => Outcome::failed("no overlay file system", "modprobe overlay"),
        (true, false) => Outcome::failed("no br_netfilter", "modprobe br_netfilter"),
    }
}

fn limit(of: &str) -> Option<u64> {
    read(&format!("/proc/sys/fs/inotify/max_user_{of}"))
        .trim()
        .parse()
        .ok()
}

/// Instances that root has open on this machine; `None` when they are not ours to see.
fn instances_used() -> Option<u64> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let roots = fs::read_dir("/proc").ok()?.flatten().filter(|entry| {
        entry.file_name().as_encoded_bytes()[0].is_ascii_digit()
            && entry.metadata().is_ok_and(|process| process.uid() == 0)
    });
    // A process that ends meanwhile has none.
    let files = roots.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    let links = files
        .flatten()
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    Some(
        links
            .filter(|link| link == Path::new("anon_inode:inotify"))
            .count() as u64,
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Error, health::Verdict};

    fn passes(outcome: &Outcome) -> bool {
        outcome.verdict == Verdict::Passed
    }

    #[test]
    fn the_engines_own_cure_is_kept() {
        let none = Err(Error::setup("no engine at /var/run/docker.sock").cure("install Docker"));
        let outcome = judge_engine(&none);
        assert_eq!(outcome.cure.as_deref(), Some("install Docker"));
        assert!(passes(&judge_engine(&Ok("embedded 26.1.5".to_owned()))));
    }

    #[test]
    fn capabilities_count_only_without_an_engine() {
        let full = "Name:\tx\nCapBnd:\t000001ffffffffff\n";
        assert!(passes(&judge_capabilities(full, false)));
        // As in the machines this was written on: all but CAP_SYS_RESOURCE.
        let outcome = judge_capabilities("CapBnd:\t000001fffeffffff\n", false);
        assert!(passes(&outcome));
        assert!(
            outcome.observed.contains("restrict_oom_score_adj"),
            "{}",
            outcome.observed
        );
        // An ordinary container's.
        let outcome = judge_capabilities("CapBnd:\t00000000a80425fb\n", false);
        insta::assert_snapshot!(outcome.observed, @"bounding set without CAP_NET_ADMIN, CAP_SYS_ADMIN");
        assert_eq!(outcome.verdict, Verdict::Failed);
        let outcome = judge_capabilities("CapBnd:\t00000000a80425fb\n", true);
        assert!(matches!(outcome.verdict, Verdict::Skipped(_)));
    }

    #[test]
    fn inotify_needs_room_for_a_node() {
        assert!(passes(&judge_inotify(Some(128), Some(10), Some(8192))));
        assert!(!passes(&judge_inotify(Some(128), Some(110), Some(8192))));
        assert!(!passes(&judge_inotify(Some(128), Some(10), Some(1000))));
        assert!(passes(&judge_inotify(Some(128), None, Some(8192))));
        assert!(!passes(&judge_inotify(None, None, Some(8192))));
    }

    #[test]
    fn a_route_is_read_in_network_order() {
        let line = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        let net = Subnet {
            at: Ipv4Addr::new(192, 0, 2, 0),
            prefix: 24,
        };
        assert_eq!(route(line), Some((net, "eth0")));
        assert_eq!(route("Iface\tDestination\tGateway"), None);
    }

    #[test]
    fn subnets_conflict_only_when_every_pool_is_routed() {
        let default = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let low = "tun0\t000010AC\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n";
        let high = "tun1\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let docker = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert!(passes(&judge_subnets(&[default, low, docker].concat())));
        assert!(passes(&judge_subnets(&[default, high, docker].concat())));
        assert!(passes(&judge_subnets(&[default, low, high].concat())));
        let ten = "tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
        let outcome = judge_subnets(&[default, low, high, ten].concat());
        insta::assert_snapshot!(outcome.observed, @"host routes by tun0, tun1 cover every address pool");
        assert!(!passes(&outcome));
    }

    #[test]
    fn the_clock_must_have_been_set() {
        assert!(passes(&judge_clock(
            UNIX_EPOCH + Duration::from_secs(CLOCK_FLOOR)
        )));
        assert!(!passes(&judge_clock(
            UNIX_EPOCH + Duration::from_secs(3600)
        )));
    }

    #[test]
    fn cgroup_modes_need_their_controllers() {
        let root = tempfile::tempdir().unwrap();
        insta::assert_snapshot!(judge_cgroup(root.path()).observed, @"v1 without cpu, memory, pids");
        for controller in ["cpu", "memory", "pids"] {
            fs::create_dir(root.path().join(controller)).unwrap();
        }
        assert_eq!(judge_cgroup(root.path()), Outcome::passed("v1"));
        fs::write(
            root.path().join("cgroup.controllers"),
            "cpuset cpu io memory\n",
        )
        .unwrap();
        insta::assert_snapshot!(judge_cgroup(root.path()).observed, @"v2 without pids");
        fs::write(root.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        assert_eq!(judge_cgroup(root.path()), Outcome::passed("v2"));
    }

    #[test]
    fn modules_may_be_built_in_or_on_disk() {
        let root = tempfile::tempdir().unwrap();
        assert!(!passes(&judge_modules(root.path())));
        fs::create_dir_all(root.path().join("proc/sys/kernel")).unwrap();
        fs::write(root.path().join("proc/filesystems"), "nodev\toverlay\n").unwrap();
        assert_eq!(judge_modules(root.path()).observed, "no br_netfilter");
        fs::write(root.path().join("proc/sys/kernel/osrelease"), "6.1.0\n").unwrap();
        fs::create_dir_all(root.path().join("lib/modules/6.1.0")).unwrap();
        let dep = "kernel/net/bridge/br_netfilter.ko: kernel/net/bridge/bridge.ko\n";
        fs::write(root.path().join("lib/modules/6.1.0/modules.dep"), dep).unwrap();
        assert!(passes(&judge_modules(root.path())));
    }

    #[test]
    fn disk_and_kmsg_are_looked_at_where_they_are() {
        let root = tempfile::tempdir().unwrap();
        let outcome = judge_disk(&root.path().join("not/yet/there"));
        assert!(
            outcome.observed.contains("GiB free at"),
            "{}",
            outcome.observed
        );
        assert!(!passes(&judge_kmsg(root.path())));
        assert!(passes(&judge_kmsg(Path::new("/dev/null"))));
    }
}
