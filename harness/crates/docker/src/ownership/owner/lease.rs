//! A lease that owns resources: it lives for as long as somebody holds it.
//!
//! Each holder is a locked file in a folder of the cache. The kernel releases a lock when its
//! holder dies, whatever killed it, so a dead holder is never mistaken for a living one.
//!
//! A lease that nobody holds may end, or get a holder again. The lock of its gate decides: a new
//! holder shares it, and who ends the lease has it alone while he looks for holders and leaves the
//! mark of the end. So a new holder either keeps everything or sees that the lease has ended.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use super::{Liveness, process::this_boot};
use kubenest_base::{Context, Error, Result, file, random};

/// Prefix of a lease's label.
const MARK: &str = "lease";
/// The folder of a cache's leases.
const LEASES: &str = "leases";
/// Extension of the files of holders.
const HOLDER: &str = "holder";
/// The file whose lock decides between a new holder and the end.
const GATE: &str = "gate";
/// The mark of the end, with its reason.
const ENDED: &str = "ended";
/// The file whose lock a holder has who holds the lease alone.
const ALONE: &str = "alone";
/// What holders have to know, once everything is made.
const RECORD: &str = "record.json";
/// The guard's note that nobody holds the lease; its age counts.
const IDLE: &str = "idle";

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
    /// The lock of the only holder, if this one holds the lease alone.
    alone: Option<File>,
}

/// What can be seen of a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseState {
    /// The processes that hold it; one that holds it twice is here twice.
    pub holders: Vec<u32>,
    /// How long its guard has seen no holder.
    pub idle: Option<Duration>,
    /// Why it takes no more holders, if it does not.
    pub ended: Option<String>,
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
    /// The lease of this id in a cache; its folder is made, where a guard can work before the first
    /// holder comes.
    ///
    /// # Errors
    /// The folder cannot be made, or the cache's path is not absolute or no text.
    pub fn of(cache: &Path, id: LeaseId) -> Result<Self> {
        let folder = cache.join(LEASES).join(&id.0);
        let make = || {
            fs::create_dir_all(&folder)?;
            let mut options = File::options();
            let options = options.write(true).create(true).truncate(false);
            options.open(folder.join(GATE)).map(drop)
        };
        make().with_context(|| format!("make '{}'", folder.display()))?;
        Self::named(cache, id)
    }

    /// The leases of a cache that somebody holds or could hold, in no order.
    ///
    /// # Errors
    /// The cache's path is not absolute or no text.
    pub fn all(cache: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(cache.join(LEASES)).into_iter().flatten();
        let folders = entries.flatten().map(|entry| entry.path());
        let named = folders.filter(|folder| folder.join(GATE).is_file());
        let ids = named.filter_map(|folder| {
            let name = folder.file_name()?.to_str()?.to_owned();
            LeaseId::new(name).ok()
        });
        ids.map(|id| Self::named(cache, id)).collect()
    }

    fn named(cache: &Path, id: LeaseId) -> Result<Self> {
        let leases = cache.join(LEASES);
        let what = || {
            format!(
                "look at the folder of lease '{}' in '{}'",
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
    /// [`NotFound`](kubenest_base::ErrorKind::NotFound): it has ended. Or the file cannot be made or
    /// locked.
    pub fn hold(&self) -> Result<Holder> {
        let folder = self.folder();
        let ended = || Error::not_found(format!("lease '{}' has ended", self.id.0));
        let gate = match File::open(folder.join(GATE)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(ended()),
            gate => gate.and_then(|gate| gate.lock_shared().map(|()| gate)),
        };
        let gate = gate.with_context(|| format!("enter the lease of '{}'", folder.display()))?;
        // The whole folder may have gone meanwhile.
        if folder.join(ENDED).exists() || !folder.join(GATE).exists() {
            return Err(ended());
        }
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
                alone: None,
            })
        };
        let held = hold().with_context(|| format!("hold the lease of '{}'", folder.display()));
        drop(gate);
        held
    }

    /// As [`hold`](Self::hold), for a lease that has one holder at a time; `None` while there is
    /// another.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub fn hold_alone(&self) -> Result<Option<Holder>> {
        let path = self.folder().join(ALONE);
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false);
        let what = || format!("lock '{}'", path.display());
        let alone = match options.open(&path) {
            // Without its folder the lease has ended, which the hold says.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return self.hold().map(Some),
            file => file.with_context(what)?,
        };
        match alone.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(cause)) => return Err(cause).with_context(what),
            Ok(()) => {}
        }
        let mut holder = self.hold()?;
        holder.alone = Some(alone);
        Ok(Some(holder))
    }

    /// Lets nobody hold it any more, for this reason. Its guard removes what it owns as soon as the
    /// holders that it has let go.
    ///
    /// # Errors
    /// The mark cannot be written.
    pub fn end(&self, why: &str) -> Result<()> {
        match self.folder().join(GATE).exists() {
            true => file::write(&self.folder().join(ENDED), why),
            false => Ok(()),
        }
    }

    /// Ends it unless somebody holds it; whether it has ended.
    ///
    /// # Errors
    /// The gate cannot be locked, or the mark cannot be written.
    pub fn end_unless_held(&self, why: &str) -> Result<bool> {
        let end = || -> io::Result<bool> {
            let gate = match File::open(self.folder().join(GATE)) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(true),
                gate => gate?,
            };
            match gate.try_lock() {
                // Somebody comes, or ends it.
                Err(TryLockError::WouldBlock) => return Ok(false),
                locked => locked?,
            }
            let ended = !self.is_held()?;
            if ended && !self.folder().join(ENDED).exists() {
                fs::write(self.folder().join(ENDED), why)?;
            }
            Ok(ended)
        };
        end().with_context(|| format!("end lease '{}'", self.id.0))
    }

    /// Whether it takes no holders and nobody is left who could end it: its boot was killed, or it
    /// has ended. A lease that is just being made has no holder's file yet, or a locked one.
    pub(in crate::ownership) fn is_given_up(&self) -> bool {
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let had_holder = entries
            .map(|entry| entry.path())
            .any(|path| path.extension().is_some_and(|end| end == HOLDER));
        let is_over = had_holder || self.folder().join(ENDED).exists();
        is_over && self.record().is_none() && self.liveness() == Liveness::Dead
    }

    /// Removes its files, after everything that it owned is gone.
    pub fn forget(&self) {
        fs::remove_dir_all(self.folder()).ok();
    }

    /// Records that everything is made, and what a holder has to know of it. Until then the lease
    /// ends with its last holder; from now on it waits for others.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn settle(&self, record: &[u8]) -> Result<()> {
        file::write(&self.folder().join(RECORD), record)
    }

    /// The record of a lease that has [settled](Self::settle) and takes holders.
    pub fn record(&self) -> Option<Vec<u8>> {
        let folder = self.folder();
        let record = fs::read(folder.join(RECORD)).ok()?;
        (!folder.join(ENDED).exists()).then_some(record)
    }

    /// What can be seen of it now.
    pub fn state(&self) -> LeaseState {
        let folder = self.folder();
        let mut holders = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_held = is_locked(&path).is_ok_and(|locked| locked);
            let name = path.file_stem().and_then(|stem| stem.to_str());
            let pid: Option<u32> = name.and_then(|name| name.split_once('-')?.0.parse().ok());
            holders.extend(pid.filter(|_| is_held));
        }
        holders.sort_unstable();
        let unheld = fs::metadata(folder.join(IDLE)).and_then(|about| about.modified());
        LeaseState {
            idle: unheld.ok().and_then(|since| since.elapsed().ok()),
            ended: fs::read_to_string(folder.join(ENDED)).ok(),
            holders,
        }
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

    /// The folder of all leases of its cache.
    pub(in crate::ownership) fn leases(&self) -> PathBuf {
        self.cache.join(LEASES)
    }

    /// The cache that it belongs to.
    pub fn cache(&self) -> &Path {
        &self.cache
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
            if is_locked(&entry?.path())? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a path is a holder's file, and its holder lives.
fn is_locked(path: &Path) -> io::Result<bool> {
    let is_holder = path.extension().is_some_and(|end| end == HOLDER);
    // Anybody can write a label, so only plain files are opened.
    if !is_holder || !fs::symlink_metadata(path).is_ok_and(|about| about.is_file()) {
        return Ok(false);
    }
    let file = match File::open(path) {
        // The holder has released the lease meanwhile.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    // The lock is shared, so that two processes that check at once do not take each other for a
    // holder.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}

impl Holder {
    /// Whether the lease has no other holder.
    pub fn is_alone(&self) -> bool {
        self.alone.is_some()
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
