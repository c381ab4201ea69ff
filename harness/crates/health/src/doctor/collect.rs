//! Collects the facts that the checks judge, from the engine and from this machine.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use nix::{
    sys::{
        inotify::{InitFlags, Inotify},
        statvfs::statvfs,
    },
    unistd::geteuid,
};
use semver::Version;

use super::{
    facts::{Cgroups, Disk, Engine, Facts, Inotifies, Iptables, Machine},
    quotas::INSTANCES_FLOOR,
};
use kubenest_base::{Result, process::Command, settings::Settings, wait::patience};
use kubenest_docker::{Docker, discover::Origin};
use kubenest_forge::image;
use kubenest_recipe::compat::Stack;

impl Facts {
    pub(super) async fn collect(settings: &Arc<Settings>) -> Self {
        let docker = kubenest_forge::engine::find(settings).await;
        let origin = docker.as_ref().ok().map(|docker| &docker.endpoint().origin);
        let machine = Machine::collect(settings, origin).await;
        let mut folders = vec![settings.cache.clone()];
        let engine = match docker {
            Ok(docker) => match Engine::ask(&docker).await {
                Ok((engine, data)) => {
                    // A path on another machine means nothing here, and the embedded engine's data
                    // is in the cache, which is checked anyway.
                    let is_here = |data: &PathBuf| {
                        docker.socket().is_some() && !data.starts_with(&settings.cache)
                    };
                    folders.extend(data.filter(is_here));
                    Ok(engine)
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        Self {
            engine,
            settings: settings.check(),
            disks: folders
                .iter()
                .filter_map(|folder| Disk::of(folder))
                .collect(),
            now: SystemTime::now(),
            patience: patience().clone(),
            proxy: settings.proxy.clone(),
            machine,
        }
    }
}

impl Engine {
    /// The engine, and its data folder where this machine has it.
    async fn ask(docker: &Docker) -> Result<(Self, Option<PathBuf>)> {
        let (nature, info) = (docker.nature().await?, docker.info().await?);
        let engine = Self {
            nature,
            cgroup_version: info.cgroup_version,
        };
        let data = Some(info.data_root).filter(|folder| folder.is_dir());
        Ok((engine, data))
    }
}

impl Disk {
    fn of(folder: &Path) -> Option<Self> {
        let existing = folder.ancestors().find(|folder| folder.is_dir())?;
        let stat = statvfs(existing).ok()?;
        Some(Self {
            folder: folder.to_owned(),
            bytes: stat.blocks() * stat.fragment_size(),
            bytes_free: stat.blocks_available() * stat.fragment_size(),
            inodes: stat.files(),
            inodes_free: stat.files_available(),
        })
    }
}

impl Machine {
    async fn collect(settings: &Settings, engine: Option<&Origin>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let number = |path: &str| number(Path::new(path));
        let root = Path::new("/");
        Self {
            cgroups: Cgroups::of(Path::new("/sys/fs/cgroup")),
            default_kubernetes: default_kubernetes(settings, engine),
            status: read("/proc/self/status"),
            inotify: Inotifies {
                room: geteuid().is_root().then(room),
                ..inotifies()
            },
            user: geteuid().as_raw(),
            key_users: read("/proc/key-users"),
            load: read("/proc/loadavg"),
            tasks_limit: number("/proc/sys/kernel/pid_max")
                .min(number("/proc/sys/kernel/threads-max")),
            group_tasks: group_tasks(Path::new("/sys/fs/cgroup")),
            user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            apparmor: read("/proc/self/attr/current"),
            routes: read("/proc/net/route"),
            iptables: iptables().await,
            ipv6: Path::new("/proc/net/if_inet6").exists()
                && number("/proc/sys/net/ipv6/conf/all/disable_ipv6") != Some(1),
            kmsg: fs::metadata("/dev/kmsg").is_ok_and(|file| file.file_type().is_char_device()),
            overlay: has_overlay(root),
            br_netfilter: has_br_netfilter(root),
        }
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn default_kubernetes(settings: &Settings, engine: Option<&Origin>) -> Option<Version> {
    let stack = Stack::of(&image::likely_recipe(settings, engine).ok()?);
    stack.kubernetes.or_else(|| tag_version(&stack.node_image?))
}

/// The version in a node image's tag, such as `kindest/node:v1.32.2@sha256:…`.
fn tag_version(image: &str) -> Option<Version> {
    let name = image.split('@').next()?;
    let (_, tag) = name.rsplit_once(':')?;
    Version::parse(tag.strip_prefix('v')?).ok()
}

/// `pids.current` and `pids.max` of this process's cgroup, if it has a limit. On version 1 they are
/// in the folder of the controller `pids`.
fn group_tasks(root: &Path) -> Option<(u64, u64)> {
    let folders = [root.to_owned(), root.join("pids")];
    folders.iter().find_map(|at| {
        Some((
            number(&at.join("pids.current"))?,
            number(&at.join("pids.max"))?,
        ))
    })
}

/// Whether overlay is built in, loaded, or on the disk to be loaded.
fn has_overlay(root: &Path) -> bool {
    let known = fs::read_to_string(root.join("proc/filesystems")).unwrap_or_default();
    known.lines().any(|line| line.ends_with("\toverlay")) || modules(root).contains("/overlay.ko")
}

fn has_br_netfilter(root: &Path) -> bool {
    root.join("proc/sys/net/bridge").is_dir() || modules(root).contains("/br_netfilter.ko")
}

fn modules(root: &Path) -> String {
    let at = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let release = at("proc/sys/kernel/osrelease");
    at(&format!("lib/modules/{}/modules.dep", release.trim()))
}

/// How many more instances of inotify root can have on this machine, as far as this process can see
/// them in use; `None` where it cannot, or where there is no limit to be read.
pub fn free_inotify_instances() -> Option<u64> {
    let Inotifies {
        instances, used, ..
    } = inotifies();
    let (own, _) = used?.get(&0).copied().unwrap_or_default();
    Some(instances?.saturating_sub(own))
}

/// How much each user has used of inotify, as far as this process may see it, and how much more
/// root can have.
fn inotifies() -> Inotifies {
    let limit = |of: &str| number(Path::new(&format!("/proc/sys/fs/inotify/max_user_{of}")));
    let is_root = geteuid().is_root();
    let mut used = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|entry| is_number(&entry.file_name().to_string_lossy())) {
        // A process that has ended meanwhile has none.
        let found = inotifies_of(&process.path());
        if let Some((user, instances, watches)) = found.filter(|found| found.1 > 0) {
            let sum: &mut (u64, u64) = used.entry(user).or_default();
            *sum = (sum.0 + instances, sum.1 + watches);
        }
    }
    Inotifies {
        instances: limit("instances"),
        watches: limit("watches"),
        // An ordinary user cannot see other users' processes, so root's use would be incomplete.
        used: is_root.then_some(used),
        room: None,
    }
}

/// The user, instances and watches of a process.
fn inotifies_of(process: &Path) -> Option<(u32, u64, u64)> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let user = ids.split_whitespace().nth(1)?.parse().ok()?;
    let (mut instances, mut watches) = (0, 0);
    for file in fs::read_dir(process.join("fd")).ok()?.flatten() {
        let is_one =
            fs::read_link(file.path()).is_ok_and(|link| link == Path::new("anon_inode:inotify"));
        if is_one {
            let info = process.join("fdinfo").join(file.file_name());
            let info = fs::read_to_string(info).unwrap_or_default();
            instances += 1;
            watches += info
                .lines()
                .filter(|l| l.starts_with("inotify wd:"))
                .count() as u64;
        }
    }
    Some((user, instances, watches))
}

/// How many more instances this user can open, up to what a node needs. Opening them also counts
/// processes in other process namespaces, which cannot be seen here.
fn room() -> u64 {
    let instances = std::iter::from_fn(|| Inotify::init(InitFlags::IN_CLOEXEC).ok());
    let taken: Vec<_> = instances
        .take(usize::try_from(INSTANCES_FLOOR).unwrap_or(usize::MAX))
        .collect();
    taken.len() as u64
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit())
}

async fn iptables() -> Iptables {
    let list = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let legacy = [
        list("/proc/net/ip_tables_names"),
        list("/proc/net/ip6_tables_names"),
    ]
    .concat();
    let mut version = None;
    for program in ["iptables", "/usr/sbin/iptables", "/sbin/iptables"] {
        let Ok(told) = Command::new(program).arg("--version").run().await else {
            continue;
        };
        let look = Command::new(program).args(["-w", "5", "-S", "FORWARD"]);
        let trouble = match geteuid().is_root() {
            true => look.run().await.err().map(|error| error.to_string()),
            false => None,
        };
        version = Some((told.stdout.trim().to_owned(), trouble));
        break;
    }
    Iptables { version, legacy }
}

impl Cgroups {
    pub(super) fn of(root: &Path) -> Self {
        match fs::read_to_string(root.join("cgroup.controllers")) {
            Ok(controllers) => Self {
                unified: true,
                controllers: controllers.split_whitespace().map(str::to_owned).collect(),
            },
            // On version 1 each controller is mounted in a folder of its name.
            Err(_) => Self {
                unified: false,
                controllers: ["cpu", "memory", "pids"]
                    .into_iter()
                    .filter(|name| root.join(name).is_dir())
                    .map(str::to_owned)
                    .collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_node_image_is_its_kubernetes() {
        let tag = "kindest/node:v1.35.1@sha256:0";
        assert_eq!(tag_version(tag), Some(Version::new(1, 35, 1)));
        assert_eq!(tag_version("host:5000/node@sha256:0"), None);
        assert_eq!(tag_version("node"), None);
    }

    #[test]
    fn modules_may_be_built_in_or_on_disk() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        assert!(!has_overlay(root.path()) && !has_br_netfilter(root.path()));
        fs::create_dir_all(at("proc/sys/kernel")).unwrap();
        fs::write(at("proc/filesystems"), "nodev\toverlay\n").unwrap();
        assert!(has_overlay(root.path()) && !has_br_netfilter(root.path()));
        fs::write(at("proc/sys/kernel/osrelease"), "6.1.0\n").unwrap();
        fs::create_dir_all(at("lib/modules/6.1.0")).unwrap();
        let dep = "kernel/net/bridge/br_netfilter.ko: kernel/net/bridge/bridge.ko\n";
        fs::write(at("lib/modules/6.1.0/modules.dep"), dep).unwrap();
        assert!(has_br_netfilter(root.path()));
    }

    #[test]
    fn the_limit_of_a_control_group_is_found_in_either_version() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(group_tasks(root.path()), None);
        fs::write(root.path().join("pids.current"), "7\n").unwrap();
        fs::write(root.path().join("pids.max"), "max\n").unwrap();
        assert_eq!(group_tasks(root.path()), None, "no limit");
        let pids = root.path().join("pids");
        fs::create_dir(&pids).unwrap();
        fs::write(pids.join("pids.current"), "9\n").unwrap();
        fs::write(pids.join("pids.max"), "100\n").unwrap();
        assert_eq!(group_tasks(root.path()), Some((9, 100)));
    }

    #[test]
    fn an_open_instance_is_counted_with_its_watches() {
        let instance = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let events = nix::sys::inotify::AddWatchFlags::IN_CREATE;
        instance.add_watch(folder.path(), events).unwrap();
        let (user, instances, watches) = inotifies_of(Path::new("/proc/self")).unwrap();
        assert_eq!(user, geteuid().as_raw());
        assert!(instances >= 1 && watches >= 1, "{instances} {watches}");
    }

    #[tokio::test]
    async fn a_disk_is_that_of_the_nearest_folder() {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::of(&root.path().join("not/yet/there")).unwrap();
        assert!(disk.bytes > 0 && disk.bytes >= disk.bytes_free);
    }
}
