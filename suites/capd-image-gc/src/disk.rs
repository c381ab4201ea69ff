//! A disk of the suite's own, which all layers share, and the engine on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use kubenest::engine::Docker;
use kubenest_base::{lock::FileLock, process::Command, settings::EngineRelease, store::Store};
use kubenest_docker::discover::{Endpoint, Origin};
use kubenest_forge::engine::Engine;

/// Its size. The layers write about a third of it before it is filled.
const BYTES: u64 = 16 << 30;
/// What the layers write at most, of the machine's own disk: what fills the disk is never written.
const WRITTEN: u64 = 10 << 30;

/// A file with a file system, mounted where an engine has its data.
///
/// Its folder has a fixed name, so that the next run of a killed test removes the remains.
pub struct Disk {
    engine: Engine,
    folder: PathBuf,
    _lock: FileLock,
}

impl Disk {
    /// Makes the disk, after the removal of what a killed test has left.
    ///
    /// # Errors
    /// The machine's disk has no room, or this is not root of a machine with loop devices.
    pub async fn make() -> Result<Self> {
        let settings = kubenest::settings();
        let name = "capd-image-gc";
        let folder = settings.cache.join("engine-tests").join(name);
        let lock = FileLock::exclusive(&folder.with_extension("lock"), name).await?;
        let engine = Engine::open(&folder, EngineRelease::Docker26, settings)?;
        remove(&engine, &folder).await?;
        Store::of(settings).require_free(WRITTEN, "a disk for nested clusters")?;

        fs::create_dir_all(&folder)?;
        let image = image(&folder);
        fs::File::create(&image)?.set_len(BYTES)?;
        // No part of it is reserved for root: what the kubelet counts is what can be filled.
        let make = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]);
        make.arg(&image).run().await?;
        let mount = Command::new("mount").args(["-o", "loop"]);
        mount.arg(&image).arg(&folder).run().await?;
        // It makes its folders on the disk.
        let engine = Engine::open(&folder, EngineRelease::Docker26, settings)?;
        Ok(Self {
            engine,
            folder,
            _lock: lock,
        })
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// It does not start.
    pub async fn engine(&self) -> Result<Docker> {
        let socket = self.engine.ensure().await?.socket;
        let endpoint = Endpoint::unix(socket, Origin::Embedded);
        Ok(Docker::at(&endpoint, kubenest::settings()).await?)
    }

    /// Percent in use, as a kubelet counts: rounded up.
    ///
    /// # Errors
    /// The disk is not mounted.
    pub async fn used_percent(&self) -> Result<u64> {
        let (blocks, available, _) = self.blocks().await?;
        Ok(100 - available * 100 / blocks)
    }

    /// Fills it to this many percent, at once and without writing.
    ///
    /// # Errors
    /// The disk is not mounted.
    pub async fn fill(&self, percent: u64) -> Result<u64> {
        let (blocks, available, block) = self.blocks().await?;
        let missing = (blocks * percent / 100).saturating_sub(blocks - available) * block;
        let allocate = Command::new("fallocate").args(["--length", &missing.to_string()]);
        allocate.arg(self.folder.join("filler")).run().await?;
        self.used_percent().await
    }

    /// Its blocks, those that are free, and the bytes of one.
    async fn blocks(&self) -> Result<(u64, u64, u64)> {
        let stat = Command::new("stat").args(["--file-system", "--format", "%b %a %S"]);
        let told = stat.arg(&self.folder).run().await?.stdout;
        let numbers = told.split_whitespace().map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
        let &[blocks, available, block] = numbers.as_slice() else {
            anyhow::bail!("stat of '{}': {told}", self.folder.display());
        };
        Ok((blocks, available, block))
    }

    /// Stops the engine and removes the disk, unless clusters are kept.
    ///
    /// # Errors
    /// Something still uses the disk.
    pub async fn remove(self) -> Result<()> {
        if kubenest::settings().keep {
            return Ok(());
        }
        remove(&self.engine, &self.folder).await
    }
}

async fn remove(engine: &Engine, folder: &Path) -> Result<()> {
    engine.stop().await?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let point = folder.to_string_lossy();
    let is_mounted = |line: &str| line.split(' ').nth(4) == Some(point.as_ref());
    if mounts.lines().any(is_mounted) {
        Command::new("umount").arg(folder).run().await?;
    }
    let image = image(folder);
    for path in [folder, &image] {
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false if path.exists() => fs::remove_file(path),
            false => Ok(()),
        };
        removed.with_context(|| format!("remove '{}'", path.display()))?;
    }
    Ok(())
}

fn image(folder: &Path) -> PathBuf {
    folder.with_extension("img")
}
