//! The files that make a root file system a node: init units, entry point, manifests.

use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use super::layer::LayerWriter;
use crate::{Result, docker::FileEntry, recipe::Parts, recipe::sha256_hex};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/data/node");

/// Units that a node in a container has no use for, or that hold up its start.
const MASKED: [&str; 13] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "systemd-logind.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
];

/// Programs of the OS's package that the runtime looks for in `/opt/cni/bin`.
const CNI_PLUGINS: [&str; 5] = ["bridge", "host-local", "loopback", "portmap", "ptp"];

/// What the files of a node depend on, as a key.
pub(crate) fn key(parts: &Parts) -> String {
    let text: String = files(parts)
        .iter()
        .map(|file| {
            format!(
                "{} {:o} {}\n",
                file.path,
                file.mode,
                sha256_hex(&file.content)
            )
        })
        .collect();
    let rest = format!("{MASKED:?} {CNI_PLUGINS:?} {}", parts.cni.is_some());
    format!(
        "node-{}",
        &sha256_hex(format!("{text}{rest}").as_bytes())[..16]
    )
}

/// Writes the files of a node.
pub(crate) fn write(layer: &mut LayerWriter, parts: &Parts) -> Result<()> {
    for file in files(parts) {
        layer.file(&file)?;
    }
    let systemd = Path::new("etc/systemd/system");
    for unit in ["containerd.service", "kubelet.service"] {
        let link = systemd.join("multi-user.target.wants").join(unit);
        layer.symlink(&link, &Path::new("/etc/systemd/system").join(unit))?;
    }
    layer.symlink(
        &systemd.join("default.target"),
        Path::new("/lib/systemd/system/multi-user.target"),
    )?;
    for unit in MASKED {
        layer.symlink(&systemd.join(unit), Path::new("/dev/null"))?;
    }
    if parts.cni.is_none() {
        for plugin in CNI_PLUGINS {
            let target = Path::new("/usr/lib/cni").join(plugin);
            layer.symlink(&Path::new("opt/cni/bin").join(plugin), &target)?;
        }
    }
    for (name, mode) in [
        ("etc/cni/net.d", 0o755),
        ("kind", 0o755),
        ("etc/kubernetes", 0o755),
    ] {
        layer.folder(name, mode)?;
    }
    Ok(())
}

fn files(parts: &Parts) -> Vec<FileEntry> {
    let version = format!("v{}", parts.kubernetes.version);
    let mut files = vec![FileEntry::new("/kind/version", version.clone())];
    let mut folders = vec![&FILES];
    while let Some(folder) = folders.pop() {
        for entry in folder.entries() {
            match entry {
                DirEntry::Dir(dir) => folders.push(dir),
                DirEntry::File(file) => {
                    let path = PathBuf::from("/").join(file.path());
                    files.push(filled(&path, file.contents(), parts, &version));
                }
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn filled(path: &Path, content: &[u8], parts: &Parts, version: &str) -> FileEntry {
    let text = String::from_utf8_lossy(content)
        .replace("@KUBERNETES@", version)
        .replace("@PAUSE@", &parts.pause.version)
        .replace("@SNAPSHOTTER@", &parts.settings.snapshotter)
        .replace(
            "@SYSTEMD_CGROUP@",
            &parts.settings.systemd_cgroup.to_string(),
        );
    // The embedded files carry no permission bits; scripts are known by their place.
    let script = path.starts_with("/usr/local");
    FileEntry {
        path: path.to_string_lossy().into_owned(),
        mode: if script { 0o755 } else { 0o644 },
        content: text.into_bytes(),
    }
}
