//! What was seen on one node, before anything is judged.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    image_volume::Mounted,
    kubelet::{Flags, Kubelet},
    loader::{Dump, Import, loaded_for},
    shim::Shim,
};
use kubenest_node::node::{
    containerd::Plugin,
    cri::{CgroupDriver, Condition, Version},
};
use kubenest_recipe::compat::{self, Stack};

/// A fact, or why it could not be had.
pub(super) type Seen<T> = Result<T, String>;

/// Everything the checks look at.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) version: Seen<Version>,
    pub(super) conditions: Seen<Vec<Condition>>,
    /// Where images live, one folder per snapshotter, the default one first.
    pub(super) image_folders: Seen<Vec<String>>,
    /// `None`: containerd before 2.0 cannot say.
    pub(super) cri_driver: Seen<Option<CgroupDriver>>,
    pub(super) plugins: Seen<Vec<Plugin>>,
    pub(super) daemon: Seen<Daemon>,
    pub(super) config: Seen<ContainerdConfig>,
    pub(super) shims: Seen<Vec<Shim>>,
    pub(super) disk: Seen<Disk>,
    pub(super) overlay: Seen<String>,
    pub(super) cgroup: Seen<Cgroup>,
    pub(super) inotify: Seen<Inotify>,
    pub(super) clock: Seen<Clock>,
    /// The kubelet's effective configuration.
    pub(super) kubelet: Seen<Kubelet>,
    /// What the running kubelet was started with.
    pub(super) kubelet_flags: Seen<Flags>,
    /// What came of an image volume; tried only where the spec asks for them.
    pub(super) image_volume: Seen<Mounted>,
    pub(super) dump: Seen<Dump>,
    /// What came of an import; tried only where the spec names a loader.
    pub(super) import: Seen<Import>,
}

/// The running containerd process.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Daemon {
    /// Target of `/proc/<pid>/exe`; ends in ` (deleted)` when the file was replaced.
    pub(super) exe: String,
    pub(super) cwd: String,
    /// Its own PATH.
    pub(super) path: String,
}

/// How the daemon runs containers: what it acts on, which a changed file may no longer say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerdConfig {
    pub(super) default_runtime_name: String,
    pub(super) runtimes: BTreeMap<String, Runtime>,
}

/// One entry of containerd's `runtimes` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Runtime {
    pub(super) runtime_type: String,
    pub(super) runtime_path: String,
    pub(super) options: Option<RuntimeOptions>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct RuntimeOptions {
    #[serde(rename = "SystemdCgroup")]
    pub(super) systemd_cgroup: bool,
}

/// The file system that holds the images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Disk {
    pub(super) bytes: u64,
    /// To ordinary users, as the kubelet counts.
    pub(super) bytes_available: u64,
    /// Zero on file systems that have no such limit.
    pub(super) inodes: u64,
    pub(super) inodes_free: u64,
}

/// The cgroup file system as the node sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cgroup {
    pub(super) v2: bool,
    pub(super) controllers: Vec<String>,
}

/// Limits of the node's root user, and what is used of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Inotify {
    pub(super) instances: u64,
    pub(super) instances_used: u64,
    pub(super) watches: u64,
    pub(super) watches_used: u64,
}

/// The node's clock against this machine's, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clock {
    /// Positive when the node is ahead.
    pub(super) skew: f64,
    /// How far off the reading may be.
    pub(super) error: f64,
}

impl Facts {
    /// What of it has to go together.
    pub(super) fn stack(&self) -> Stack {
        let daemon = self.version.as_ref().ok();
        let shim = self.shims.as_ref().ok().and_then(|shims| shims.first());
        Stack {
            containerd: daemon.and_then(|daemon| compat::version(&daemon.runtime_version)),
            shim: shim.and_then(|shim| compat::version(&shim.found.as_ref()?.version)),
            snapshotter: loaded_for(&self.dump, &self.image_folders).ok(),
            config: self.dump.as_ref().ok().map(|dump| dump.version),
            ..Stack::default()
        }
    }
}

impl Daemon {
    /// The executable's path, also when the file there is another one by now.
    pub(super) fn exe_path(&self) -> &str {
        self.exe.strip_suffix(" (deleted)").unwrap_or(&self.exe)
    }

    fn parse(text: &str) -> Seen<Self> {
        let mut lines = text.lines().map(str::to_owned);
        let (Some(exe), Some(cwd)) = (lines.next(), lines.next()) else {
            return Err("containerd.service has no process".to_owned());
        };
        Ok(Self {
            exe,
            cwd,
            path: lines.next().unwrap_or_default(),
        })
    }
}

impl ContainerdConfig {
    /// From the details of a verbose CRI status.
    pub(super) fn parse(info: &BTreeMap<String, String>) -> Seen<Self> {
        #[derive(Deserialize)]
        struct Config {
            containerd: ContainerdConfig,
        }
        let config = info
            .get("config")
            .ok_or("the CRI status has no configuration")?;
        let config: Config =
            serde_json::from_str(config).map_err(|error| format!("CRI configuration: {error}"))?;
        Ok(config.containerd)
    }
}

/// Who makes the containers' cgroups: what the runtime says or, before containerd 2.0, what
/// the configuration of its default runtime says.
pub(super) fn driver(
    said: &Seen<Option<CgroupDriver>>,
    config: &Seen<ContainerdConfig>,
) -> Seen<CgroupDriver> {
    if let Some(driver) = seen(said)? {
        return Ok(*driver);
    }
    let config = seen(config)?;
    let runtime = config.runtimes.get(&config.default_runtime_name);
    let options = runtime.and_then(|runtime| runtime.options.as_ref());
    Ok(
        match options.is_some_and(|options| options.systemd_cgroup) {
            true => CgroupDriver::Systemd,
            false => CgroupDriver::Cgroupfs,
        },
    )
}

impl Cgroup {
    fn parse(text: &str) -> Seen<Self> {
        let (kind, controllers) = text.split_once('\n').ok_or("no cgroup file system")?;
        let controllers = controllers.split_whitespace().map(str::to_owned).collect();
        Ok(Self {
            v2: kind == "cgroup2fs",
            controllers,
        })
    }
}

impl Inotify {
    fn parse(text: &str) -> Seen<Self> {
        let mut numbers = text.lines().map(|line| line.trim().parse::<u64>());
        let mut next = || match numbers.next() {
            Some(Ok(number)) => Ok(number),
            _ => Err(format!("inotify limits: {text:?}")),
        };
        Ok(Self {
            instances: next()?,
            instances_used: next()?,
            watches: next()?,
            watches_used: next()?,
        })
    }
}

impl Disk {
    /// From `stat -f -c '%S %b %a %c %d'`.
    pub(super) fn parse(text: &str) -> Seen<Self> {
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map_while(|n| n.parse().ok())
            .collect();
        let &[block, blocks, available, inodes, inodes_free] = numbers.as_slice() else {
            return Err(format!("stat of the image file system: {text:?}"));
        };
        Ok(Self {
            bytes: block * blocks,
            bytes_available: block * available,
            inodes,
            inodes_free,
        })
    }

    /// Percent in use, rounded as the kubelet does.
    pub(super) fn used_percent(&self) -> u64 {
        100 - (self.bytes_available * 100)
            .checked_div(self.bytes)
            .unwrap_or(100)
            .min(100)
    }
}

/// What probe.sh printed, by part.
#[derive(Debug)]
pub(super) struct Probe<'a> {
    parts: BTreeMap<&'a str, &'a str>,
}

impl<'a> Probe<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let parts = text.strip_prefix("@@").unwrap_or(text).split("\n@@");
        Self {
            parts: parts
                .map(|part| part.split_once('\n').unwrap_or((part, "")))
                .collect(),
        }
    }

    pub(super) fn daemon(&self) -> Seen<Daemon> {
        Daemon::parse(self.part("daemon")?)
    }

    pub(super) fn kubelet_flags(&self) -> Seen<Flags> {
        Flags::parse(self.part("kubelet")?)
    }

    pub(super) fn dump(&self) -> Seen<Dump> {
        Dump::parse(self.part("dump")?)
    }

    pub(super) fn cgroup(&self) -> Seen<Cgroup> {
        Cgroup::parse(self.part("cgroup")?)
    }

    pub(super) fn inotify(&self) -> Seen<Inotify> {
        Inotify::parse(self.part("inotify")?)
    }

    /// `usable`, or the words of what failed.
    pub(super) fn overlay(&self) -> Seen<String> {
        Ok(self.part("overlay")?.trim().to_owned())
    }

    /// Seconds since 1970.
    pub(super) fn clock(&self) -> Seen<f64> {
        let text = self.part("clock")?.trim();
        text.parse().map_err(|_| format!("clock: {text:?}"))
    }

    fn part(&self, name: &str) -> Seen<&'a str> {
        self.parts
            .get(name)
            .copied()
            .ok_or_else(|| format!("the probe gave no '{name}'"))
    }
}

/// The fact, or why there is none.
pub(super) fn seen<T>(fact: &Seen<T>) -> Result<&T, String> {
    fact.as_ref().map_err(Clone::clone)
}

/// The snapshotter in effect.
pub(super) fn snapshotter_of(image_folders: &Seen<Vec<String>>) -> Seen<&str> {
    // The first folder is the default snapshotter's; others belong to single runtimes.
    let folder = seen(image_folders)?.first().map_or("", String::as_str);
    let (_, name) = folder
        .rsplit_once("io.containerd.snapshotter.v1.")
        .ok_or_else(|| format!("image folder '{folder}' names no snapshotter"))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: &str = r#"@@clock
1763706000.250000000
@@daemon
/usr/local/bin/containerd (deleted)
/
/usr/local/bin:/usr/bin
@@cgroup
tmpfs
blkio cpu cpuacct memory
@@inotify
128
17
8192
230
@@dump
version = 3
[plugins]
  [plugins.'io.containerd.cri.v1.images']
    snapshotter = 'native'
@@overlay
usable
"#;

    #[test]
    fn a_probe_is_read_part_by_part() {
        let probe = Probe::parse(PROBE);
        let daemon = probe.daemon().expect("must parse");
        assert_eq!(daemon.exe_path(), "/usr/local/bin/containerd");
        assert_eq!(daemon.path, "/usr/local/bin:/usr/bin");
        let cgroup = probe.cgroup().expect("must parse");
        assert_eq!((cgroup.v2, cgroup.controllers.len()), (false, 4));
        assert_eq!(probe.inotify().expect("must parse").watches_used, 230);
        assert_eq!(probe.overlay().as_deref(), Ok("usable"));
        let dump = probe.dump().expect("must parse");
        assert_eq!(
            (dump.version, dump.snapshotter.as_deref()),
            (3, Some("native"))
        );
        assert_eq!(probe.clock(), Ok(1_763_706_000.25));
    }

    #[test]
    fn missing_and_broken_parts_say_so() {
        let probe = Probe::parse("@@daemon\n@@inotify\n128\nx\n@@clock\n");
        insta::assert_snapshot!(probe.daemon().unwrap_err(), @"containerd.service has no process");
        insta::assert_snapshot!(probe.cgroup().unwrap_err(), @"the probe gave no 'cgroup'");
        insta::assert_snapshot!(probe.inotify().unwrap_err(), @r#"inotify limits: "128\nx""#);
        insta::assert_snapshot!(probe.clock().unwrap_err(), @r#"clock: """#);
        insta::assert_snapshot!(
            Probe::parse("@@dump\n").dump().unwrap_err(),
            @"`containerd config dump` has no version"
        );
        assert!(Probe::parse("").daemon().is_err());
    }

    #[test]
    fn runtimes_are_read_from_the_cri_status() {
        let parse = |text: &str| {
            ContainerdConfig::parse(&BTreeMap::from([("config".to_owned(), text.to_owned())]))
        };
        let config = parse(
            r#"{"containerd": {"snapshotter": "overlayfs", "defaultRuntimeName": "runc",
                "runtimes": {"runc": {"runtimeType": "io.containerd.runc.v2",
                    "runtimePath": "/opt/shim", "options": {"SystemdCgroup": true, "IoUid": 0}},
                "bare": {"runtimeType": "io.containerd.runc.v2", "options": null}}}}"#,
        )
        .expect("must parse");
        let runc = &config.runtimes[&config.default_runtime_name];
        assert_eq!(runc.runtime_path, "/opt/shim");
        assert!(runc.options.as_ref().expect("must be there").systemd_cgroup);
        assert_eq!(config.runtimes["bare"].options, None);
        assert!(parse("{}").is_err());
        assert!(ContainerdConfig::parse(&BTreeMap::new()).is_err());
    }

    #[test]
    fn disk_use_is_rounded_up_as_the_kubelet_does() {
        let disk = Disk::parse("4096 1000 145 500 100\n").expect("must parse");
        assert_eq!((disk.bytes, disk.used_percent()), (4_096_000, 86));
        assert_eq!(
            Disk::parse("4096 0 0 0 0")
                .expect("must parse")
                .used_percent(),
            0
        );
        assert!(Disk::parse("stat: cannot read").is_err());
    }
}
