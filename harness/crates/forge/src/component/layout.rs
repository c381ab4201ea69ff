//! Which programs a component consists of, and where each has its place.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use kubenest_base::{Context, Error, Result};
use kubenest_recipe::{recipe::Role, recipe::is_executable, recipe::regular_files};

/// The folder of what goes into the node, below a role's own.
pub(super) const NODE: &str = "node";
/// The tar of a root file system, below a role's own.
pub(super) const ROOTFS: &str = "rootfs.tar";

/// A program with the component it belongs to and the folder it goes to,
/// relative to the role's own.
struct Program {
    name: &'static str,
    role: Role,
    folder: &'static str,
    /// Left out by builds that do not need it.
    optional: bool,
}

const LOADER: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("ld-linux-aarch64.so.1", "images/etcd/lib")
} else {
    ("ld-linux-x86-64.so.2", "images/etcd/lib64")
};

const NODE_BIN: &str = "node/usr/local/bin";
const CNI_BIN: &str = "node/opt/cni/bin";

const PROGRAMS: [Program; 25] = [
    Program::new("kubelet", Role::Kubernetes, NODE_BIN),
    Program::new("kubeadm", Role::Kubernetes, NODE_BIN),
    Program::new("kubectl", Role::Kubernetes, NODE_BIN),
    Program::new(
        "kube-apiserver",
        Role::Kubernetes,
        "images/kube-apiserver/usr/local/bin",
    ),
    Program::new(
        "kube-controller-manager",
        Role::Kubernetes,
        "images/kube-controller-manager/usr/local/bin",
    ),
    Program::new(
        "kube-scheduler",
        Role::Kubernetes,
        "images/kube-scheduler/usr/local/bin",
    ),
    Program::new(
        "kube-proxy",
        Role::Kubernetes,
        "images/kube-proxy/usr/local/bin",
    ),
    Program::new("containerd", Role::Containerd, NODE_BIN),
    Program::new("ctr", Role::Containerd, NODE_BIN),
    Program::new("containerd-shim-runc-v2", Role::Shim, NODE_BIN),
    Program::new("crio", Role::Crio, NODE_BIN),
    Program::new("pinns", Role::Crio, NODE_BIN),
    Program::new("conmon", Role::Conmon, NODE_BIN),
    Program::new("crun", Role::Crun, NODE_BIN),
    // Found before the OS's own, which is in /usr/sbin.
    Program::new("runc", Role::Runc, "node/usr/local/sbin"),
    Program::new("bridge", Role::Cni, CNI_BIN),
    Program::new("host-local", Role::Cni, CNI_BIN),
    Program::new("loopback", Role::Cni, CNI_BIN),
    Program::new("portmap", Role::Cni, CNI_BIN),
    Program::new("ptp", Role::Cni, CNI_BIN),
    Program::new("etcd", Role::Etcd, "images/etcd/usr/local/bin"),
    Program {
        optional: true,
        ..Program::new(LOADER.0, Role::Etcd, LOADER.1)
    },
    Program {
        optional: true,
        ..Program::new("libc.so.6", Role::Etcd, "images/etcd/lib")
    },
    Program::new("coredns", Role::Coredns, "images/coredns"),
    Program::new("pause", Role::Pause, "images/pause"),
];

impl Program {
    const fn new(name: &'static str, role: Role, folder: &'static str) -> Self {
        Self {
            name,
            role,
            folder,
            optional: false,
        }
    }

    /// Where it is below an entry of the cache.
    fn path(&self) -> PathBuf {
        Path::new(self.role.name())
            .join(self.folder)
            .join(self.name)
    }
}

/// The name a bare program has when its component is only one.
pub(super) fn sole_program(role: Role) -> Option<&'static str> {
    let mut names = PROGRAMS.iter().filter(|p| p.role == role && !p.optional);
    names
        .next()
        .map(|p| p.name)
        .filter(|_| names.next().is_none())
}

/// Whether any component has a program of that name.
pub(super) fn is_program(name: &str) -> bool {
    PROGRAMS.iter().any(|program| program.name == name)
}

/// Puts every known program found below `tree` to its place below `dir`.
pub(super) fn place(tree: &Path, dir: &Path) -> Result<()> {
    let files = regular_files(tree)?;
    for program in &PROGRAMS {
        let mut found = files.iter().filter(|file| {
            file.file_name().is_some_and(|name| name == program.name) && is_executable(file)
        });
        let Some(file) = found.next() else { continue };
        if let Some(second) = found.next() {
            return Err(Error::input(format!(
                "'{}' and '{}' are both '{}'",
                file.display(),
                second.display(),
                program.name
            ))
            .cure("leave one of them out"));
        }
        let target = dir.join(program.path());
        let parent = target.parent().expect("a program must have a folder");
        let what = || format!("place '{}'", target.display());
        fs::create_dir_all(parent).with_context(what)?;
        // A user's folder is left as it is; a tree within the entry is spent.
        if tree.starts_with(dir) {
            fs::rename(file, &target).with_context(what)?;
        } else {
            fs::copy(file, &target).with_context(what)?;
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).with_context(what)?;
    }
    Ok(())
}

/// Checks that a role's folder holds all that belongs to it.
pub(super) fn check(dir: &Path, role: Role) -> Result<()> {
    let missing = |what: &str| {
        Error::input(format!("no executable file named '{what}'"))
            .cure("take the component from a source that has it; `chmod +x` what is there")
    };
    if role.is_os() {
        return dir
            .join(ROOTFS)
            .is_file()
            .then_some(())
            .ok_or_else(|| missing(ROOTFS));
    }
    let needed = PROGRAMS
        .iter()
        .filter(|program| program.role == role && !program.optional);
    for program in needed {
        if !dir.join(program.folder).join(program.name).is_file() {
            return Err(missing(program.name));
        }
    }
    Ok(())
}
