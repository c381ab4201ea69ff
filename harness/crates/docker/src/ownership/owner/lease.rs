//! A lease that owns resources: it lives for as long as somebody holds it.
//!
//! Each holder is a locked file in a folder of the cache. The kernel releases a lock when its
//! holder dies, whatever killed it, so a dead holder is never mistaken for a living one.

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

/// Prefix of a lease's label.
const MARK: &str = "lease";
/// The folder of a cache's leases.
const LEASES: &str = "leases";
/// Extension of the files of holders.
const HOLDER: &str = "holder";

/// The name of a lease in its cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseId(String);

/// A lease, named so that it cannot be confused with a lease of another cache or another machine.
///
/// The text form is `lease/<id>/<boot>/<device>-<inode>/<path of the cache>`. Device and inode are
/// those of the folder with the cache's leases, because another mount namespace may have another
/// folder at that path, or none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    id: LeaseId,
    /// The boot of the machine, because locks live in the kernel.
    boot: String,
    device: u64,
    inode: u64,
    cache: PathBuf,
}

/// A holder of a lease; dropping it, or the death of the process, releases the hold.
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

    /// The id as it is written in labels.
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

    /// Holds the lease: its resources stay until the last holder releases it.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn hold(&self) -> Result<Holder> {
        let folder = self.folder();
        let hold = || -> io::Result<Holder> {
            // The file is locked before it gets its name, so that nobody ever sees a holder without
            // its lock.
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
            // Anybody can write a label, so only plain files are opened.
            if !is_holder || !fs::symlink_metadata(&path).is_ok_and(|about| about.is_file()) {
                continue;
            }
            let file = match File::open(&path) {
                // The holder has released the lease meanwhile.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            // The lock is shared, so that two processes that check at once do not take each other
            // for a holder.
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

/// The boot of the machine; empty where /proc does not say.
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

    /// Accepts exactly what [`Display`](fmt::Display) writes, because anybody can write a label.
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
