//! The files that make a root file system a node: init units, entry point, manifests.

use std::path::Path;

use super::{control_plane, layer::LayerWriter, runtime_of};
use kubenest_base::Result;
use kubenest_base::digest::sha256_hex;
use kubenest_docker::FileEntry;
use kubenest_node::node::Runtime;
use kubenest_recipe::recipe::{Parts, RuntimeParts};

/// Files by their paths in a node, without the leading slash.
type Files = &'static [(&'static str, &'static [u8])];

static FILES: Files = include!(concat!(env!("OUT_DIR"), "/node.rs"));
static CONTAINERD: Files = include!(concat!(env!("OUT_DIR"), "/node-containerd.rs"));
static CRIO: Files = include!(concat!(env!("OUT_DIR"), "/node-crio.rs"));

/// Path of the script in a node that sets up the pod network.
pub const NETWORK_SCRIPT: &str = "/usr/local/lib/kubenest/network";
/// The content of the script.
pub const NETWORK: &str = include_str!("../../data/node/usr/local/lib/kubenest/network");

/// Units that are useless to a node in a container, or that delay its start.
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

/// Programs of the OS package; the runtime looks for them in `/opt/cni/bin`.
const CNI_PLUGINS: [&str; 5] = ["bridge", "host-local", "loopback", "portmap", "ptp"];

/// A key of everything that the files of a node depend on.
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
    for service in [runtime_of(parts).service(), "kubelet"] {
        let unit = format!("{service}.service");
        let link = systemd.join("multi-user.target.wants").join(&unit);
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
    let embedded = [FILES, files_of(runtime_of(parts))].concat();
    files.extend(embedded.into_iter().map(|(path, content)| {
        let path = Path::new("/").join(path);
        fill_template(&path, content, parts, &version)
    }));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The files that only nodes with this runtime have.
fn files_of(runtime: Runtime) -> Files {
    match runtime {
        Runtime::Containerd => CONTAINERD,
        Runtime::CriO => CRIO,
    }
}

/// The program that makes CRI-O's containers.
fn oci_runtime(parts: &Parts) -> &'static str {
    match &parts.runtime {
        RuntimeParts::Crio { crun: Some(_), .. } => "crun",
        _ => "runc",
    }
}

/// The images that a node starts with, as lines of a list in TOML.
fn pinned_lines(parts: &Parts) -> String {
    let names = control_plane::names(parts);
    let lines: Vec<_> = names
        .iter()
        .map(|name| format!("    \"{name}\","))
        .collect();
    lines.join("\n")
}

fn fill_template(path: &Path, content: &[u8], parts: &Parts, version: &str) -> FileEntry {
    let text = String::from_utf8_lossy(content)
        .replace("@KUBERNETES@", version)
        .replace("@PAUSE@", &parts.pause.version)
        .replace("@SNAPSHOTTER@", &parts.settings.snapshotter)
        .replace("@SOCKET@", runtime_of(parts).socket())
        .replace("@OCI_RUNTIME@", oci_runtime(parts))
        .replace("@PINNED@", &pinned_lines(parts))
        .replace(
            "@CGROUP_MANAGER@",
            match parts.settings.systemd_cgroup {
                true => "systemd",
                false => "cgroupfs",
            },
        )
        .replace(
            "@SYSTEMD_CGROUP@",
            &parts.settings.systemd_cgroup.to_string(),
        );
    // The embedded files have no permission bits, so scripts are recognised by their folder.
    let script = path.starts_with("/usr/local");
    FileEntry::new(path.to_string_lossy(), text).with_mode(if script { 0o755 } else { 0o644 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubenest_recipe::recipe::{Content, Recipe};

    const CONTAINERD: &str = "v1.32.1-containerd-2.0.2";

    fn parts(recipe: Recipe) -> Parts {
        match recipe.content {
            Content::Parts(parts) => *parts,
            Content::Image(image) => panic!("must be built of parts, is {image}"),
        }
    }

    fn cri_o() -> Parts {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("crio.yaml");
        let text = format!(
            "extend: {CONTAINERD}\nruntime: cri-o\ncrio: {{folder: ., version: 1.31.0}}\n\
             settings: {{systemd_cgroup: false}}\n"
        );
        std::fs::write(&file, text).unwrap();
        parts(Recipe::file(&file).unwrap())
    }

    #[test]
    fn a_node_has_the_files_of_its_own_runtime_only() {
        let paths = |parts: &Parts| -> Vec<String> {
            let files = files(parts).into_iter();
            files.map(|file| file.path).collect()
        };
        let containerd = parts(Recipe::named(CONTAINERD).unwrap());
        let (containerd, crio) = (paths(&containerd), paths(&cri_o()));
        let without = |paths: &[String], others: &[String]| -> Vec<String> {
            let own = paths.iter().filter(|path| !others.contains(path));
            own.cloned().collect()
        };
        let own = [
            "/etc/containerd/config.toml",
            "/etc/systemd/system/containerd.service",
        ];
        assert_eq!(without(&containerd, &crio), own);
        let own = [
            "/etc/containers/policy.json",
            "/etc/containers/registries.conf",
            "/etc/containers/storage.conf",
            "/etc/crio/crio.conf.d/10-kubenest.conf",
            "/etc/crio/crio.conf.d/20-pinned.conf",
            "/etc/default/kubelet",
            "/etc/systemd/system/crio.service",
            "/etc/systemd/system/kubelet.service.d/20-crio.conf",
            "/usr/local/lib/kubenest/choose-oci-runtime",
            "/usr/local/lib/kubenest/pin-images",
            "/usr/local/lib/kubenest/without-sys-resource",
        ];
        assert_eq!(without(&crio, &containerd), own);
    }

    #[test]
    fn a_runtimes_own_files_are_where_it_is_known_to_have_them() {
        let containerd = parts(Recipe::named(CONTAINERD).unwrap());
        for parts in [containerd, cri_o()] {
            let (runtime, files) = (runtime_of(&parts), files(&parts));
            let unit = format!("/etc/systemd/system/{}.service", runtime.service());
            for path in [unit.as_str(), runtime.config_file()] {
                let found = files.iter().any(|file| file.path == path);
                assert!(found, "{runtime} has no {path}");
            }
        }
    }

    #[test]
    fn cri_o_is_configured_as_the_recipe_says() {
        let parts = cri_o();
        let mut files = files(&parts).into_iter();
        let config = files.find(|file| file.path.ends_with("10-kubenest.conf"));
        let config = String::from_utf8(config.unwrap().content).unwrap();
        let config: toml::Table = config.parse().unwrap();
        let crio = &config["crio"];
        assert_eq!(crio["runtime"]["cgroup_manager"].as_str(), Some("cgroupfs"));
        let pause = format!("registry.k8s.io/pause:{}", parts.pause.version);
        assert_eq!(crio["image"]["pause_image"].as_str(), Some(pause.as_str()));
        // The kubelet must use the socket on which CRI-O listens.
        let kubelet = files.find(|file| file.path == "/etc/default/kubelet");
        let kubelet = String::from_utf8(kubelet.unwrap().content).unwrap();
        let socket = crio["api"]["listen"].as_str().unwrap();
        assert_eq!(socket, Runtime::CriO.socket());
        assert!(kubelet.contains(&Runtime::CriO.endpoint()), "{kubelet}");
    }
}
