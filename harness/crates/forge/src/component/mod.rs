//! Components of a node, from their sources into the cache.

mod archive;
mod debian;
mod folder;
pub mod go;
mod layout;
mod tether;

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

use kubenest_base::digest::sha256_hex;
use kubenest_base::{Error, Result, store::Store};
use kubenest_recipe::{recipe::Component, recipe::Source};

/// Goes into every key; raised when the same component is laid out differently.
const FORMAT: &str = "kubenest component 1";
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// A component's files in the cache. They belong to the cache: read them, never write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// What goes into the node, laid out as below its root; may not exist when
    /// nothing does, as for etcd.
    pub files: PathBuf,
    /// Names the content, for image layers: two builds of one hash are interchangeable.
    pub hash: String,
    dir: PathBuf,
}

impl Built {
    /// What goes into the container image of that name (`kube-apiserver`, `etcd`, …),
    /// laid out as below its root.
    #[must_use]
    pub fn image_root(&self, image: &str) -> PathBuf {
        self.dir.join("images").join(image)
    }

    /// The tar of a whole root file system; only an OS has one.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join(layout::ROOTFS)
    }
}

/// Gives a component's files: from the cache, or made now while other
/// processes that want the same wait.
///
/// # Errors
/// Input when the source does not hold the component; set-up when it cannot
/// be fetched or built; refused when it is not what it was pinned to.
pub async fn provide(component: &Component) -> Result<Built> {
    provide_in(&Store::default_cache(), component).await
}

async fn provide_in(store: &Store, component: &Component) -> Result<Built> {
    let Component { role, source, .. } = component;
    // One source is made once for all its roles: a daemon and its shim are one build.
    let kind = if role.is_os() {
        role.name()
    } else {
        "programs"
    };
    let arch = std::env::consts::ARCH;
    let hash = sha256_hex(format!("{FORMAT}\n{arch}\n{kind}\n{}", source.hash()).as_bytes());
    let label = label(component);
    let key = format!("{label}-{}", &hash[..16]);
    let lacking =
        |missing| Error::input(format!("{label} does not hold {}", role.name())).because(missing);
    let entry = store
        .entry("component", &key, async |dir| {
            tracing::info!(target: "kubenest::progress", "{label}: {}", intent(source));
            let started = Instant::now();
            watched(&label, make(component, dir)).await?;
            // Before it is kept: what is asked for later may be another role.
            layout::check(&dir.join(role.name()), *role).map_err(lacking)?;
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!(target: "kubenest::progress", "{label}: done in {seconds:.1} s");
            Ok(())
        })
        .await?;
    let dir = entry.join(role.name());
    layout::check(&dir, *role).map_err(lacking)?;
    let hash = sha256_hex(format!("{} {hash}", role.name()).as_bytes());
    Ok(Built {
        files: dir.join(layout::NODE),
        hash,
        dir,
    })
}

/// Says every so often that a long step is still at work.
async fn watched(label: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    let started = tokio::time::Instant::now();
    let mut signs = tokio::time::interval_at(started + SIGN_OF_LIFE, SIGN_OF_LIFE);
    let mut work = pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = signs.tick() => {
                let seconds = started.elapsed().as_secs();
                tracing::info!(target: "kubenest::progress", "{label}: at work for {seconds} s");
            }
        }
    }
}

/// A name for people who look into the cache.
fn label(component: &Component) -> String {
    match &component.source {
        Source::Go(build) => build.name().to_owned(),
        Source::Debian { suite, .. } if component.role.is_os() => {
            format!("{}-{suite}", component.role.name())
        }
        Source::Debian {
            packages, version, ..
        } => {
            format!("{}-{}", packages[0], version.as_deref().unwrap_or_default())
        }
        Source::Archive { .. } => format!("archive-{}", component.role.name()),
        Source::Folder { .. } => format!("folder-{}", component.role.name()),
    }
}

fn intent(source: &Source) -> String {
    match source {
        Source::Go(_) => "building with Go; takes minutes the first time".to_owned(),
        Source::Debian { suite, .. } => format!("fetching packages of Debian {suite}"),
        Source::Archive { url, .. } => format!("fetching {url}"),
        Source::Folder { path, .. } => format!("taking from {}", path.display()),
    }
}

async fn make(component: &Component, dir: &Path) -> Result<()> {
    let Component { role, source, .. } = component;
    // Below the entry, so that a build cut short is swept away with it.
    let scratch = tempfile::tempdir_in(dir).map_err(|cause| {
        Error::setup(format!("cannot write '{}'", dir.display())).because(cause)
    })?;
    let tree = scratch.path();
    match source {
        Source::Go(build) => {
            go::build(build, tree).await?;
            layout::place(tree, dir)
        }
        Source::Archive { url, sha256 } => {
            let file = tree.join("download");
            archive::fetch(url, sha256, &file).await?;
            if role.is_os() {
                return archive::rootfs(&file, &dir.join(role.name()).join(layout::ROOTFS));
            }
            let unpacked = tree.join("unpacked");
            archive::unpack(&file, *role, &unpacked)?;
            layout::place(&unpacked, dir)
        }
        Source::Folder { path, sha256 } => {
            let copy = tree.join("copy");
            folder::take(path, sha256, &copy)?;
            layout::place(&copy, dir)
        }
        Source::Debian {
            suite, packages, ..
        } if role.is_os() => {
            let out = dir.join(role.name()).join(layout::ROOTFS);
            debian::bootstrap(*role, suite, packages, tree, &out).await
        }
        Source::Debian {
            suite,
            packages,
            version,
            sha256,
        } => {
            let first = (version.clone(), sha256.clone());
            debian::unpack(suite, packages, first, tree).await?;
            layout::place(tree, dir)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use kubenest_recipe::recipe::Role;

    /// A folder with these executable files, as a component of that role.
    fn folder(role: Role, names: &[&str]) -> (tempfile::TempDir, Component) {
        let place = tempfile::tempdir().unwrap();
        for name in names {
            let file = place.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, name).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let source = Source::folder(place.path().into()).unwrap();
        (
            place,
            Component {
                role,
                version: "1".into(),
                source,
            },
        )
    }

    #[tokio::test]
    async fn one_source_serves_a_daemon_and_its_shim() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::open(cache.path());
        let names = [
            "bin/containerd",
            "bin/ctr",
            "bin/containerd-shim-runc-v2",
            "bin/other",
        ];
        let (_place, daemon) = folder(Role::Containerd, &names);
        let shim = Component {
            role: Role::Shim,
            ..daemon.clone()
        };
        let (daemon, shim) = (
            provide_in(&store, &daemon).await.unwrap(),
            provide_in(&store, &shim).await.unwrap(),
        );
        let bin = |built: &Built| {
            let mut names: Vec<_> = built
                .files
                .join("usr/local/bin")
                .read_dir()
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(bin(&daemon), ["containerd", "ctr"]);
        assert_eq!(bin(&shim), ["containerd-shim-runc-v2"]);
        assert_ne!(daemon.hash, shim.hash);
        let program = daemon.files.join("usr/local/bin/ctr");
        assert_eq!(
            program.metadata().unwrap().permissions().mode() & 0o777,
            0o755
        );
    }

    #[tokio::test]
    async fn a_source_without_the_component_says_what_it_lacks() {
        let cache = tempfile::tempdir().unwrap();
        let (_place, cni) = folder(Role::Cni, &["bridge", "host-local", "loopback"]);
        let error = provide_in(&Store::open(cache.path()), &cni)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kubenest_base::ErrorKind::Input);
        assert!(
            error
                .report()
                .contains("no executable file named 'portmap'"),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn what_an_error_asked_for_helps() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::open(cache.path());
        let (place, runc) = folder(Role::Runc, &["runc"]);
        let file = place.path().join("runc");
        let with_mode = |mode| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let source = Source::folder(place.path().into()).unwrap();
            Component {
                source,
                ..runc.clone()
            }
        };
        let error = provide_in(&store, &with_mode(0o644)).await.unwrap_err();
        assert!(error.cure_text().unwrap().contains("chmod +x"), "{error:?}");
        let left = fs::read_dir(cache.path().join("component"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "what lacks its program is not kept");
        provide_in(&store, &with_mode(0o755)).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_changes_is_never_kept_under_the_hash_it_had() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::open(cache.path());
        let (place, runc) = folder(Role::Runc, &["runc"]);
        let file = place.path().join("runc");
        fs::write(&file, "of another build").unwrap();
        let error = provide_in(&store, &runc).await.unwrap_err();
        assert!(
            error.to_string().contains("changed while it was taken"),
            "{error:?}"
        );
        fs::write(&file, "runc").unwrap();
        let built = provide_in(&store, &runc).await.unwrap();
        let program = built.files.join("usr/local/sbin/runc");
        assert_eq!(fs::read_to_string(program).unwrap(), "runc");
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "runc",
            "the user's is left"
        );
    }

    #[tokio::test]
    async fn half_a_cri_o_names_the_other_half() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::open(cache.path());
        for (given, lacking) in [("pinns", "crio"), ("crio", "pinns")] {
            let (_place, crio) = folder(Role::Crio, &[given]);
            let error = provide_in(&store, &crio).await.unwrap_err();
            assert_eq!(error.kind(), kubenest_base::ErrorKind::Input);
            let wanted = format!("no executable file named '{lacking}'");
            assert!(error.report().contains(&wanted), "{error:?}");
        }
        let (_place, crio) = folder(Role::Crio, &["bin/crio", "bin/pinns", "bin/conmon"]);
        let built = provide_in(&store, &crio).await.unwrap();
        let bin = built.files.join("usr/local/bin");
        assert!(bin.join("crio").is_file() && !bin.join("conmon").exists());
    }

    #[tokio::test]
    async fn two_files_of_one_name_are_refused() {
        let cache = tempfile::tempdir().unwrap();
        let (_place, runc) = folder(Role::Runc, &["a/runc", "b/runc"]);
        let error = provide_in(&Store::open(cache.path()), &runc)
            .await
            .unwrap_err();
        assert!(error.report().contains("are both 'runc'"), "{error:?}");
    }
}
