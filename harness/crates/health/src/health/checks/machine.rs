//! Checks of what a node has from its machine: disk, cgroups, inotify, clock.

use super::Outcome;
use crate::health::{
    Expected,
    facts::{Facts, Seen, driver, seen},
    kubelet::Kubelet,
};
use kubenest_node::node::cri::CgroupDriver;

/// What to do about inotify limits, on this machine or seen from a node.
pub(crate) const INOTIFY_CURE: &str = "on the engine's machine: sysctl \
     fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288, or stop other clusters";
/// Fewer free bytes than this, and loading an image or unpacking it soon fails.
const BYTES_FLOOR: u64 = 1 << 30;
/// Percent of inodes in use from which the next image may not fit.
const INODES_CEILING: u64 = 98;
/// Percentage points of room to keep below the kubelet's own threshold.
const MARGIN: u64 = 2;
/// Instances that a node's services and a few pods still need once it runs.
const INSTANCES_FLOOR: u64 = 8;
/// Watches to leave for what runs in pods.
const WATCHES_FLOOR: u64 = 1024;
/// Seconds of skew from which certificates and leases made on one side fail on the other.
const SKEW_CEILING: f64 = 5.0;

/// An overlay mount really works on the node's /var.
pub(super) fn overlay(facts: &Facts, expected: &Expected) -> Seen<Outcome> {
    let observed = seen(&facts.overlay)?;
    if expected.snapshotter() != "overlayfs" {
        let reason = format!("snapshotter {} mounts no overlay", expected.snapshotter());
        return Ok(Outcome::skipped(observed, reason));
    }
    let cure = "keep the node's /var on a volume (not on an overlay), or use snapshotter native";
    Ok(Outcome::when(observed == "usable", observed, cure))
}

/// Bytes: below the threshold at which the kubelet starts to delete, and enough to load images.
pub(super) fn disk(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    let disk = seen(&facts.disk)?;
    let used = disk.used_percent();
    // A kubelet that cannot be asked may well have its own default.
    let limit = facts.kubelet.as_ref().map_or(Some(85), deletes_from);
    let mut observed = format!(
        "{used}% used, {:.1} GiB free",
        disk.bytes_available as f64 / f64::from(1 << 30)
    );
    match limit {
        Some(limit) => observed.push_str(&format!(", kubelet deletes from {limit}%")),
        None => observed.push_str(", kubelet deletes nothing"),
    }
    let ok = disk.bytes_available >= BYTES_FLOOR && limit.is_none_or(|limit| used + MARGIN < limit);
    Ok(Outcome::when(
        ok,
        observed,
        "free space on the engine's disk: kubenest clean, docker prune",
    ))
}

/// Inodes of the same file system.
pub(super) fn inodes(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    let disk = seen(&facts.disk)?;
    let used = disk.inodes.saturating_sub(disk.inodes_free) * 100;
    let Some(used) = used.checked_div(disk.inodes) else {
        return Ok(Outcome::skipped(
            "no inode limit",
            "the file system makes them as needed",
        ));
    };
    let cure = "remove files on the engine's disk: kubenest clean, docker prune";
    Ok(Outcome::when(
        used < INODES_CEILING,
        format!("{used}% used"),
        cure,
    ))
}

/// Kubelet and containerd agree on the driver, and the controllers they need are there.
pub(super) fn cgroup(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    let cgroup = seen(&facts.cgroup)?;
    let version = if cgroup.v2 { "v2" } else { "v1" };
    let needed: &[&str] = match cgroup.v2 {
        true => &["cpu", "cpuset", "io", "memory", "pids"],
        false => &[
            "blkio", "cpu", "cpuacct", "cpuset", "devices", "memory", "pids",
        ],
    };
    let has = |name: &&&str| {
        cgroup
            .controllers
            .iter()
            .any(|controller| controller == **name)
    };
    let missing: Vec<_> = needed.iter().filter(|name| !has(name)).copied().collect();
    if !missing.is_empty() {
        let observed = format!("cgroup {version} without {}", missing.join(", "));
        let cure = "delegate these controllers to the node's cgroup, or boot the host with them";
        return Ok(Outcome::failed(observed, cure));
    }
    let runtime = match driver(&facts.cri_driver, &facts.config)? {
        CgroupDriver::Systemd => "systemd",
        CgroupDriver::Cgroupfs => "cgroupfs",
    };
    let kubelet = &seen(&facts.kubelet)?.cgroup_driver;
    Ok(Outcome::when(
        kubelet == runtime,
        format!("{version}, containerd {runtime}, kubelet {kubelet}"),
        "set SystemdCgroup of containerd's runc and the kubelet's cgroupDriver to the same driver",
    ))
}

/// Room for more inotify instances and watches; the root users of all nodes share the limits.
pub(super) fn inotify(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    let inotify = seen(&facts.inotify)?;
    let ok = inotify.instances_used + INSTANCES_FLOOR <= inotify.instances
        && inotify.watches_used + WATCHES_FLOOR <= inotify.watches;
    let observed = format!(
        "instances {} of {}, watches {} of {}",
        inotify.instances_used, inotify.instances, inotify.watches_used, inotify.watches
    );
    Ok(Outcome::when(ok, observed, INOTIFY_CURE))
}

/// The node's clock is this machine's.
pub(super) fn clock(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    let clock = seen(&facts.clock)?;
    let observed = format!("off by {:.1}s ± {:.1}s", clock.skew.abs(), clock.error);
    let ok = clock.skew.abs() - clock.error <= SKEW_CEILING;
    Ok(Outcome::when(
        ok,
        observed,
        "synchronize the clocks of this machine and the engine's",
    ))
}

/// Percent used from which this kubelet deletes images or pods; `None` when never.
fn deletes_from(kubelet: &Kubelet) -> Option<u64> {
    let gc = kubelet.high();
    let gc = (gc < 100).then_some(u64::from(gc));
    let eviction = kubelet
        .disk_signals()
        .into_iter()
        .filter_map(|(signal, threshold)| {
            let free: u64 = threshold.strip_suffix('%')?.parse().ok()?;
            signal
                .ends_with(".available")
                .then(|| 100_u64.saturating_sub(free))
        });
    eviction.chain(gc).min()
}
