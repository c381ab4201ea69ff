//! A lease that owns things: it lives for as long as somebody holds it.
//!
//! Its holders are locked files in a folder of the cache, one for each. The kernel lets go of a
//! lock when its holder dies, however it dies, so what holds a lease is never mistaken.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{Liveness, process::this_boot};
use kubenest_base::{Context, Error, Result, random};

/// What the label of a lease begins with.
const MARK: &str = "lease";
/// The folder of a cache's leases.
const LEASES: &str = "leases";
/// How the files of holders end.
const HOLDER: &str = "holder";

/// The name of a lease in its cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseId(String);

/// A lease, named so that it is never mistaken for one of another cache or another machine.
///
/// As text `lease/<id>/<boot>/<device>-<inode>/<path of the cache>`: device and inode are those of
/// the folder of the cache's leases, which another mount namespace may have elsewhere, or not at
/// all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    id: LeaseId,
    /// The boot of the machine: locks are its kernel's.
    boot: String,
    device: u64,
    inode: u64,
    cache: PathBuf,
}

/// One who holds a lease; dropping it, or dying, lets go.
#[derive(Debug)]
pub struct Holder {
    path: PathBuf,
    _locked: File,
}

impl LeaseId {
    /// The id of this text.
    ///
    /// # Errors
    /// [`Input`](kubenest_base::ErrorKind::Input): it has other characters than letters, digits,
    /// `-` and `_`, or none, or more than 64.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
            return Err(Error::input(format!("'{text}' is no id of a lease"))
                .cure("take letters, digits, - and _, at most 64"));
        }
        Ok(Self(text))
    }

    /// As it stands in labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Lease {
    /// The lease of this id in a cache; its folder is made.
    ///
    /// # Errors
    /// The folder cannot be made, or the cache's path is not absolute or no text.
    pub fn of(cache: &Path, id: LeaseId) -> Result<Self> {
        let leases = cache.join(LEASES);
        let what = || {
            format!(
                "make the folder of lease '{}' in '{}'",
                id.0,
                cache.display()
            )
        };
        let is_text = cache.to_str().is_some_and(|path| path.starts_with('/'));
        if !is_text {
            return Err(Error::input(format!(
                "'{}' is no absolute path",
                cache.display()
            )));
        }
        fs::create_dir_all(leases.join(&id.0)).with_context(what)?;
        let about = fs::metadata(&leases).with_context(what)?;
        Ok(Self {
            id,
            boot: boot_of_kernel(Path::new("/proc")),
            device: about.dev(),
            inode: about.ino(),
            cache: cache.to_owned(),
        })
    }

    /// The id that it has in its cache.
    pub fn id(&self) -> &LeaseId {
        &self.id
    }

    /// Holds it: what it owns stays until the last of its holders lets go.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn hold(&self) -> Result<Holder> {
        let folder = self.folder();
        let hold = || -> io::Result<Holder> {
            // It is locked before it has its name: no holder is ever seen without its lock.
            let half = tempfile::Builder::new()
                .prefix(".half-")
                .tempfile_in(&folder)?;
            half.as_file().lock()?;
            let name = format!("{}-{}", std::process::id(), random::hex(4));
            let path = folder.join(name).with_extension(HOLDER);
            let locked = half.persist_noclobber(&path)?;
            Ok(Holder {
                path,
                _locked: locked,
            })
        };
        hold().with_context(|| format!("hold the lease of '{}'", folder.display()))
    }

    /// Whether somebody holds it, if this process can tell.
    pub fn liveness(&self) -> Liveness {
        if !self.is_in_sight(Path::new("/proc")) {
            return Liveness::Unknown;
        }
        match self.is_held() {
            Ok(true) => Liveness::Alive,
            Ok(false) => Liveness::Dead,
            Err(cause) => {
                tracing::debug!("cannot look at '{}': {cause}", self.folder().display());
                Liveness::Unknown
            }
        }
    }

    /// The folder of its holders.
    pub(in crate::ownership) fn folder(&self) -> PathBuf {
        self.cache.join(LEASES).join(&self.id.0)
    }

    /// Whether this process sees the folder of its cache, and shares the kernel of its holders.
    fn is_in_sight(&self, proc: &Path) -> bool {
        let boot = boot_of_kernel(proc);
        let about = fs::metadata(self.cache.join(LEASES));
        !boot.is_empty()
            && boot == self.boot
            && about.is_ok_and(|about| (about.dev(), about.ino()) == (self.device, self.inode))
    }

    fn is_held(&self) -> io::Result<bool> {
        let entries = match fs::read_dir(self.folder()) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let is_holder = path.extension().is_some_and(|end| end == HOLDER);
            // A label is anybody's text: what is no plain file is not opened.
            if !is_holder || !fs::symlink_metadata(&path).is_ok_and(|about| about.is_file()) {
                continue;
            }
            let file = match File::open(&path) {
                // It has let go meanwhile.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            // Shared, so that two who look at once do not take each other for a holder.
            match file.try_lock_shared() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(true),
                Err(TryLockError::Error(cause)) => return Err(cause),
            }
        }
        Ok(false)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// The boot of the machine; empty where nothing tells it.
fn boot_of_kernel(proc: &Path) -> String {
    let (_, boot) = this_boot(proc);
    boot.split('-').next().unwrap_or_default().to_owned()
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            boot,
            device,
            inode,
            cache,
        } = self;
        // The path begins with a slash.
        write!(
            f,
            "{MARK}/{}/{boot}/{device}-{inode}{}",
            id.0,
            cache.display()
        )
    }
}

impl FromStr for Lease {
    type Err = ();

    /// Takes exactly what [`Display`](fmt::Display) writes: a label is anybody's text.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(5, '/');
        let (Some(MARK), Some(id), Some(boot), Some(place), Some(cache)) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(());
        };
        let (device, inode) = place.split_once('-').ok_or(())?;
        let lease = Self {
            id: LeaseId::new(id).map_err(drop)?,
            boot: boot.to_owned(),
            device: device.parse().map_err(drop)?,
            inode: inode.parse().map_err(drop)?,
            cache: Path::new("/").join(cache),
        };
        if lease.to_string() == text {
            Ok(lease)
        } else {
            Err(())
        }
    }
}

#[cfg(test)]
mod tests;
