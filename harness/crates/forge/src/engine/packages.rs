//! The engine's programs in the cache: unpacked Debian packages, and programs built with Go.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use kubenest_base::digest::sha256_hex;
use serde::Deserialize;

use super::layout::Layout;
use crate::{component, durations::timed, making::unprepared_in, package::Package};
use kubenest_base::{
    Context, Error, Result,
    process::Command,
    settings::{EngineRelease, Settings},
    store::Store,
};
use kubenest_recipe::recipe::GoBuild;

const PINNED: &str = include_str!("../../data/engine.yaml");

/// The kind of the cache entry with the packages.
const KIND: &str = "engine-packages";
/// The name that stands for the packages of all engines.
pub(crate) const PACKAGES: &str = "engine embedded";

/// Commands of the `iptables` package; Debian makes their links with update-alternatives.
const TABLES: [&str; 6] = [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    version: String,
    built: GoModule,
    suites: BTreeMap<String, Vec<Package>>,
}

/// The Go module of an engine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoModule {
    go: String,
    version: String,
}

/// The programs of an engine.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    /// The folder of the unpacked packages.
    root: PathBuf,
    /// The folder of built programs, which take precedence over the packages' programs.
    built: Option<PathBuf>,
    /// `PATH`, in which the machine's own programs are found.
    path: OsString,
}

/// Networking programs: the machine's own, which an engine already on the machine uses too, or else
/// the unpacked ones.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    ip: PathBuf,
    iptables: PathBuf,
    /// Variables that the unpacked programs need.
    env: Vec<(&'static str, OsString)>,
}

/// Disk space that the packages and their content take at most.
const UNPACKED_BYTES: u64 = 1 << 30;

/// The Go module that an engine of this release is built from; `None` for Debian's own.
pub(super) fn built(release: EngineRelease) -> Result<Option<GoBuild>> {
    let GoModule { go, version } = pins()?.built;
    match release {
        EngineRelease::Docker26 => Ok(None),
        EngineRelease::Docker29 => GoBuild::find(&go, &version).map(Some),
    }
}

/// Whether the store has the packages of all engines.
pub(super) fn are_unpacked(store: &Store) -> Result<bool> {
    Ok(store.get(KIND, &key()?)?.is_some())
}

/// All programs of an engine of this release; made if they are not in the cache.
pub(super) async fn provide(settings: &Settings, release: EngineRelease) -> Result<Binaries> {
    let packages = unpack(settings).await?;
    let built = match built(release)? {
        Some(build) => Some(component::programs_of_part(&Store::of(settings), &build).await?),
        None => None,
    };
    Ok(Binaries { built, ..packages })
}

pub(super) fn key() -> Result<String> {
    let sum = sha256_hex(PINNED.as_bytes());
    Ok(format!("docker-{}-{}", pins()?.version, &sum[..8]))
}

fn pins() -> Result<Pins> {
    serde_saphyr::from_str(PINNED).context("read engine.yaml")
}

/// The programs of the packages, which are enough for everything but the start of a later release.
pub(super) async fn unpack(settings: &Settings) -> Result<Binaries> {
    let store = &Store::of(settings);
    let key = key()?;
    let of = |root| Binaries {
        root,
        built: None,
        path: settings.path.clone(),
    };
    if let Some(root) = store.get(KIND, &key)? {
        return Ok(of(root));
    }
    let fetch = async |dir: &Path| {
        store.require_free(UNPACKED_BYTES, "the embedded Docker engine")?;
        for (suite, packages) in &pins()?.suites {
            component::fetch_packages(store, suite, packages, dir).await?;
        }
        Ok(())
    };
    let fetch = async |dir: &Path| timed(store.root(), PACKAGES, fetch(dir)).await;
    let root = unprepared_in(store, PACKAGES, store.entry(KIND, &key, fetch))
        .await
        .map_err(|error| {
            let usual = "start a Docker engine and set DOCKER_HOST, or see the cause";
            let cure = error.cure_text().unwrap_or(usual).to_owned();
            Error::setup("cannot get the embedded Docker engine")
                .cure(cure)
                .because(error)
        })?;
    Ok(of(root))
}

impl Binaries {
    pub(super) fn dockerd(&self) -> PathBuf {
        self.of_the_daemon("dockerd")
    }

    pub(super) fn proxy(&self) -> PathBuf {
        self.of_the_daemon("docker-proxy")
    }

    /// All that an engine in a pod needs and a node's OS lacks, and the client for people.
    pub(super) fn for_pod(&self) -> Vec<PathBuf> {
        let programs = [
            "containerd",
            "containerd-shim-runc-v2",
            "docker",
            "docker-init",
        ];
        let programs = programs.map(|name| self.root.join("usr/bin").join(name));
        [self.dockerd(), self.proxy()]
            .into_iter()
            .chain(programs)
            .collect()
    }

    fn of_the_daemon(&self, name: &str) -> PathBuf {
        let packaged = || self.root.join("usr/sbin");
        self.built.clone().unwrap_or_else(packaged).join(name)
    }

    pub(super) fn cli(&self) -> PathBuf {
        self.root.join("usr/bin/docker")
    }

    /// Finds the networking programs; links to unpacked programs go to `<run>/bin`.
    pub(super) async fn tools(&self, run: &Path) -> Result<Tools> {
        let env = self.library_env()?;
        let ip = on_machine("ip", &self.path).unwrap_or_else(|| self.root.join("bin/ip"));
        if let Some(iptables) = on_machine("iptables", &self.path) {
            let env = if ip.starts_with(&self.root) {
                env
            } else {
                Vec::new()
            };
            return Ok(Tools { ip, iptables, env });
        }
        let variant = self.working_variant(&env).await?;
        let bin = run.join("bin");
        fs::create_dir_all(&bin).with_context(|| format!("make '{}'", bin.display()))?;
        for name in TABLES {
            let target = name.replacen("tables", &format!("tables-{variant}"), 1);
            let link = bin.join(name);
            fs::remove_file(&link).ok();
            std::os::unix::fs::symlink(self.root.join("usr/sbin").join(target), &link)
                .with_context(|| format!("link '{}'", link.display()))?;
        }
        Ok(Tools {
            ip,
            iptables: bin.join("iptables"),
            env,
        })
    }

    /// The iptables variant that works here: the kernel may have nf_tables, the older ip_tables, or
    /// both.
    async fn working_variant(&self, env: &[(&'static str, OsString)]) -> Result<&'static str> {
        let mut last = None;
        for variant in ["nft", "legacy"] {
            let program = self.root.join(format!("usr/sbin/iptables-{variant}"));
            let look = with_env(Command::new(program), env).args(["-w", "-t", "nat", "-S"]);
            match look.run().await {
                Ok(_) => return Ok(variant),
                Err(error) => last = Some(error),
            }
        }
        let error = Error::setup("iptables does not work with this kernel")
            .cure("load the kernel's nf_tables or ip_tables modules");
        Err(last.into_iter().fold(error, Error::because))
    }

    fn library_env(&self) -> Result<Vec<(&'static str, OsString)>> {
        let lib = self.root.join("usr/lib");
        let entries = fs::read_dir(&lib).with_context(|| format!("read '{}'", lib.display()))?;
        // The name of the folder depends on the architecture.
        let arch = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.join("xtables").is_dir())
            .ok_or_else(|| Error::setup(format!("no libraries in '{}'", lib.display())))?;
        let plugins = arch.join("xtables").into_os_string();
        Ok(vec![
            ("LD_LIBRARY_PATH", arch.into_os_string()),
            ("XTABLES_LIBDIR", plugins),
        ])
    }
}

impl Tools {
    pub(super) fn ip(&self) -> Command {
        with_env(Command::new(&self.ip), &self.env)
    }

    /// An `iptables` command that waits for the lock which all users of iptables share.
    pub(super) fn iptables(&self) -> Command {
        with_env(Command::new(&self.iptables), &self.env).arg("-w")
    }

    /// The daemon's variables. The daemon runs `iptables` inside the networks of containers.
    pub(super) fn daemon_env(
        &self,
        binaries: &Binaries,
        layout: &Layout,
    ) -> Vec<(&'static str, OsString)> {
        let mut path = OsString::new();
        let packaged = ["usr/bin", "usr/sbin"].map(|dir| binaries.root.join(dir));
        for dir in binaries.built.iter().chain(&packaged) {
            path.push(dir);
            path.push(":");
        }
        path.push(&binaries.path);
        path.push(":/usr/sbin:/usr/bin:/sbin:/bin:");
        path.push(layout.run.join("bin"));
        let (mark, run) = layout.mark();
        let mut env = vec![("PATH", path), (mark, run.into())];
        // The machine's own iptables must not load the unpacked libraries.
        if self.iptables.starts_with(&layout.run) {
            env.extend(self.env.iter().cloned());
        }
        env
    }
}

fn with_env(command: Command, env: &[(&'static str, OsString)]) -> Command {
    env.iter()
        .fold(command, |command, (name, value)| command.env(name, value))
}

/// A program of the machine. System folders are searched even if `PATH` lacks them.
fn on_machine(name: &str, path: &OsStr) -> Option<PathBuf> {
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|path| path.is_absolute() && path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned() {
        let pinned = pins().unwrap();
        GoBuild::find(&pinned.built.go, &pinned.built.version).unwrap();
        for package in pinned.suites.values().flatten() {
            let sum = package.sha256.as_deref().unwrap_or_default();
            assert!(
                package.version.is_some() && sum.len() == 64,
                "{}",
                package.name
            );
        }
    }
}
