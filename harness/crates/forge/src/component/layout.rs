//! The programs that each component consists of, and the place of each program.

use std::path::Path;

use kubenest_base::{Error, Result};
use kubenest_recipe::recipe::Role;

/// The folder of a role's files that go into the node, inside the role's own folder.
pub(super) const NODE: &str = "node";
/// The tar of a root file system, inside the role's own folder.
pub(super) const ROOTFS: &str = "rootfs.tar";

/// A program with the component it belongs to and the folder it goes to,
/// relative to the role's own.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) folder: &'static str,
    /// Builds that do not need this program leave it out.
    pub(super) optional: bool,
}

const LOADER: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("ld-linux-aarch64.so.1", "images/etcd/lib")
} else {
    ("ld-linux-x86-64.so.2", "images/etcd/lib64")
};

const NODE_BIN: &str = "node/usr/local/bin";
const CNI_BIN: &str = "node/opt/cni/bin";

pub(super) const PROGRAMS: [Program; 25] = [
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
    // This folder comes before /usr/sbin, where the OS has its own runc.
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
}

/// Checks that a role's folder holds every program of the role.
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
