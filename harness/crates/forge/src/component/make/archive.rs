//! Fetches archives, checks them against their checksums, and unpacks them safely.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path},
    thread,
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use tokio::sync::oneshot;

use super::place;
use kubenest_base::{Context, Error, Result, wait};
use kubenest_recipe::recipe::{Role, hash_file};

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Fetches `url` to `file` and refuses bytes whose sha256 is not the given one.
pub(super) async fn fetch(url: &str, sha256: &str, file: &Path) -> Result<()> {
    let (from, to) = (url.to_owned(), file.to_owned());
    let (sender, fetched) = oneshot::channel();
    // The download has its own thread and not one of the runtime's, which could not shut down while
    // a server is silent.
    thread::spawn(move || {
        sender.send(match from.strip_prefix("file://") {
            Some(path) => fs::copy(path, &to)
                .map(drop)
                .with_context(|| format!("read '{path}'")),
            None => download(&from, &to, &Patience::default()),
        })
    });
    fetched
        .await
        .expect("a fetch must not panic")
        .map_err(|cause| {
            Error::setup(format!("cannot fetch {url}"))
                .because(cause)
                .cure("check the address and the network; a copy on this machine is file:///…")
        })?;
    let found = hash_file(file)?;
    if found == sha256 {
        return Ok(());
    }
    Err(
        Error::refused(format!("{url} has sha256 {found}, not {sha256}"))
            .cure("correct `sha256:` if the new content is meant, else distrust the address"),
    )
}

/// Writes the tar of a root file system unchanged, except that it is no longer compressed.
pub(super) fn rootfs(file: &Path, out: &Path) -> Result<()> {
    let parent = out.parent().expect("a tar must have a folder");
    let what = || format!("write '{}'", out.display());
    fs::create_dir_all(parent).with_context(what)?;
    let mut out_file = File::create(out).with_context(what)?;
    io::copy(&mut open(file)?, &mut out_file).with_context(what)?;
    for entry in tar(out)?.entries().with_context(what)? {
        check_path(&entry.with_context(|| format!("read '{}'", out.display()))?)?;
    }
    Ok(())
}

/// Unpacks the programs of a tar archive, or takes the file itself as the one program of `role`.
///
/// Only regular files with the name of a program are written, so that nothing else in an archive
/// can have an effect.
pub(super) fn unpack(file: &Path, role: Role, out: &Path) -> Result<()> {
    if !is_tar(file)? {
        let name = place::sole_program(role).ok_or_else(|| {
            Error::input("the file is no tar archive").cure("give a .tar or .tar.gz")
        })?;
        return write_program(&mut open(file)?, &out.join(name));
    }
    let what = || format!("read '{}'", file.display());
    for entry in tar(file)?.entries().with_context(what)? {
        let mut entry = entry.with_context(what)?;
        check_path(&entry)?;
        check_link(&entry)?;
        let path = entry.path().with_context(what)?.into_owned();
        let name = path.file_name().and_then(|name| name.to_str());
        if entry.header().entry_type().is_file() && name.is_some_and(place::is_program) {
            write_program(&mut entry, &out.join(path))?;
        }
    }
    Ok(())
}

/// How long the client waits for a server.
struct Patience {
    /// To find the server and to connect.
    connect: Duration,
    /// For the next bytes, including the first.
    silence: Duration,
    /// For the whole download.
    all: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [connect, silence, all] = [30, 60, 60 * 60].map(Duration::from_secs).map(wait::scaled);
        Self {
            connect,
            silence,
            all,
        }
    }
}

fn download(url: &str, file: &Path, patience: &Patience) -> Result<()> {
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::PlatformVerifier)
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_per_read(Some(patience.silence))
        .timeout_per_write(Some(patience.silence))
        .timeout_global(Some(patience.all));
    let agent: ureq::Agent = config.build().into();
    let mut response = agent
        .get(url)
        .call()
        .with_context(|| format!("get {url}"))?;
    let what = || format!("write '{}'", file.display());
    let mut out = File::create(file).with_context(what)?;
    io::copy(&mut response.body_mut().as_reader(), &mut out).with_context(what)?;
    Ok(())
}

/// Opens a file and removes gzip compression.
fn open(file: &Path) -> Result<Box<dyn Read>> {
    let what = || format!("read '{}'", file.display());
    let mut magic = Vec::new();
    File::open(file)
        .with_context(what)?
        .take(2)
        .read_to_end(&mut magic)
        .with_context(what)?;
    let reader = BufReader::new(File::open(file).with_context(what)?);
    Ok(if magic == GZIP {
        Box::new(MultiGzDecoder::new(reader))
    } else {
        Box::new(reader)
    })
}

fn tar(file: &Path) -> Result<tar::Archive<Box<dyn Read>>> {
    Ok(tar::Archive::new(open(file)?))
}

fn is_tar(file: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let what = || format!("read '{}'", file.display());
    open(file)?
        .take(262)
        .read_to_end(&mut head)
        .with_context(what)?;
    Ok(head.get(257..262) == Some(b"ustar".as_slice()))
}

fn write_program(from: &mut dyn Read, to: &Path) -> Result<()> {
    let what = || format!("write '{}'", to.display());
    fs::create_dir_all(to.parent().expect("a program must have a folder")).with_context(what)?;
    let mut out = File::options()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(to)
        .with_context(what)?;
    io::copy(from, &mut out).with_context(what)?;
    Ok(())
}

fn check_path(entry: &tar::Entry<'_, impl Read>) -> Result<()> {
    let path = entry.path().context("read a member's path")?;
    let inside = path
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if inside {
        Ok(())
    } else {
        Err(outside_error(&path))
    }
}

fn check_link(entry: &tar::Entry<'_, impl Read>) -> Result<()> {
    let Some(target) = entry.link_name().context("read a member's link")? else {
        return Ok(());
    };
    let path = entry.path().context("read a member's path")?;
    // The target of a hard link starts at the archive's root, that of a symbolic link at the folder
    // of the link.
    let start = if entry.header().entry_type().is_symlink() {
        path.components().count() - 1
    } else {
        0
    };
    let depth = target
        .components()
        .try_fold(start, |depth, part| match part {
            Component::Normal(_) => Some(depth + 1),
            Component::CurDir => Some(depth),
            Component::ParentDir => depth.checked_sub(1),
            Component::RootDir | Component::Prefix(_) => None,
        });
    depth.map(drop).ok_or_else(|| outside_error(&path))
}

fn outside_error(path: &Path) -> Error {
    Error::refused(format!(
        "archive member '{}' leads out of the archive",
        path.display()
    ))
    .cure("repack the archive without it")
}

#[cfg(test)]
mod tests;
