//! Causes that keep the runtime from starting a pod: programs and images that are missing.

use super::super::{
    Speaker::{Pod, Unknown},
    rule::{Cause, Role::Proof, Sign},
};
use super::CALLS;

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "containerd-shim-missing",
        title: "the shim of the runtime is not installed",
        cause: "containerd does not find {shim}, the program of the runtime {runtime}, in the \
                PATH of its service",
        cure: "install the shim beside containerd (its release archive has \
               containerd-shim-runc-v2; Kata and gVisor bring their own) and restart containerd, \
               or set the runtime's runtime_type to one that is there: containerd 2.0 has no \
               io.containerd.runc.v1 any more",
        links: &[
            "https://github.com/containerd/containerd/blob/main/core/runtime/v2/README.md",
            "https://github.com/containerd/containerd/issues/3473",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r"(?:^ctr: |runtime path: |containerd task: |start failed: |start shim: ",
                r#")runtime "(?<runtime>[^"]+)" binary not installed "(?<shim>[^"]+)": "#,
                r"file does not exist"
            ),
        )],
    },
    Cause {
        id: "runc-missing",
        title: "the low-level runtime is not installed",
        cause: "the shim does not find the program {program}, which makes the containers, in the \
                PATH of containerd's service (containerd's release archive does not have it)",
        cure: "install runc (/usr/local/sbin/runc of its releases, or the distribution's package) \
               where containerd's service finds it, or set BinaryName in the options of the \
               runtime to its full path, and restart containerd; with pods in user namespaces \
               containerd 2.0.0 to 2.0.2 ignored BinaryName",
        links: &[
            "https://github.com/containerd/containerd/blob/main/docs/getting-started.md",
            "https://github.com/containerd/containerd/pull/11557",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r"OCI runtime create failed: unable to retrieve OCI runtime error \(open ",
                r"[^ ]+/log\.json: ",
                r#"no such file or directory\): exec: "(?<program>[^"]+)": executable file not "#,
                r"found in \$PATH"
            ),
        )],
    },
    Cause {
        id: "apparmor-parser-missing",
        title: "AppArmor is on, and its parser is not installed",
        cause: "no container can start: the kernel has AppArmor enabled, so containerd loads its \
                profile, and the node has no apparmor_parser",
        cure: "install the package apparmor in the node and restart containerd, or use containerd \
               1.6.18 or newer, which does without AppArmor where /sbin/apparmor_parser is not \
               there",
        links: &["https://github.com/containerd/containerd/issues/7547"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r"failed to create containerd container: (?:get apparmor_parser version|load ",
                r"apparmor ",
                r#"profile [^ ]+ parser error\([^)]*\)): exec: "apparmor_parser": executable "#,
                r"file not found"
            ),
        )],
    },
    Cause {
        id: "cni-plugin-missing",
        title: "a program of the pod network is not in the node",
        cause: "no pod can start: the node's network configuration (/etc/cni/net.d) names the \
                plugin {plugin}, and there is no such program in {path}",
        cure: "install the plugin there: bridge, loopback, host-local, portmap and firewall are \
               in the archive cni-plugins of containernetworking/plugins; others (flannel, \
               calico, cilium-cni) their network's pods copy, so look at those. A file that an \
               earlier network left in /etc/cni/net.d is to be removed: the first by name counts",
        links: &[
            "https://github.com/containernetworking/plugins/releases",
            "https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/",
            "https://github.com/rancher/rke2/issues/7981",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r#"network(?: for sandbox "[^"]*")?: .*failed to find plugin "(?<plugin>[^"]+)" in "#,
                r"path \[(?<path>[^\]]+)\]",
            ),
        )],
    },
    Cause {
        id: "sandbox-image-unavailable",
        title: "the runtime cannot have its sandbox image",
        cause: "no pod can start: the runtime needs {image}, the image of every pod's sandbox, \
                does not have it, and cannot pull it: the end of the line says why; it is the \
                runtime's own setting, and need not be the pause image that kubeadm lists",
        cure: "load {image} into the node, or set sandbox_image in containerd's configuration \
               (2.0 and newer: `sandbox` below pinned_images) to an image that the node has or \
               can pull, and restart containerd; without a network also pin it: the kubelet's \
               garbage collection may have removed it",
        links: &[
            "https://github.com/kubernetes/kubeadm/issues/2801",
            "https://github.com/containerd/containerd/blob/main/docs/cri/config.md",
        ],
        follows: Some("registry-name-unresolved"),
        signs: &[Sign::new(
            Proof,
            CALLS,
            r#"failed to get sandbox image "(?<image>[^"]+)": failed to pull image "#,
        )],
    },
    Cause {
        id: "memory-limit-too-low",
        title: "a container's memory limit is below what its start takes",
        cause: "runc could not start the container within its memory limit[: {limit} bytes, of \
                which {usage} were in use already]: the limit of the container or its pod is \
                lower than the start itself takes, so that the kernel kills runc's first process \
                or refuses the limit, or a volume in memory (emptyDir of medium Memory, /dev/shm) \
                fills it",
        cure: "raise resources.limits.memory (runc's start takes some 10 MiB; 32Mi is a safe \
               least), and count what the pod keeps in memory volumes: it stays over restarts",
        links: &[
            "https://github.com/opencontainers/runc/blob/v1.3.0/libcontainer/process_linux.go",
            "https://github.com/kubernetes/minikube/issues/6160",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    r"unable to start container process: container init was OOM-killed \(memory ",
                    r"limit too low\?\)",
                ),
            ),
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    r"error during container init: error setting cgroup config for procHooks ",
                    r"process: ",
                    r"unable to set memory limit to (?<limit>[0-9]+) \(current usage: ",
                    r"(?<usage>[0-9]+),"
                ),
            ),
        ],
    },
    Cause {
        id: "idmap-mounts-unsupported",
        title: "a volume's filesystem cannot be mapped to a pod's users",
        cause: "a pod with hostUsers: false cannot start: its volumes are mounted with its own \
                users mapped, and the filesystem of {volume} does not know such mounts on this \
                kernel (devices, hugepages, NFS and many of FUSE; tmpfs before Linux 6.3)",
        cure: "use Linux 6.3 or newer and ext4, xfs, btrfs or tmpfs for the volume, take the \
               volume out of the pod (devices by CDI or a device plugin), or set hostUsers: true",
        links: &[
            "https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/",
            "https://github.com/kubernetes/enhancements/blob/master/keps/sig-node/127-user-namespaces/README.md",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r"failed to fulfil mount request: failed to set MOUNT_ATTR_IDMAP on ",
                r"(?<volume>/[^ ]+): invalid argument",
            ),
        )],
    },
    Cause {
        id: "wrong-architecture",
        title: "a program is not for this machine's architecture",
        cause: "the kernel does not know how to run {program}: it was built for another \
                architecture than the node's, as an image built on a machine with another CPU is, \
                or it is a script without a first line such as #!/bin/sh",
        cure: "docker image inspect IMAGE says under Os and Architecture what it is for: build or \
               pull it for the node's (docker build --platform linux/amd64), or install \
               qemu-user's binfmt on the host; if it is right, look at the script's first line",
        links: &[
            "https://docs.docker.com/build/building/multi-platform/",
            "https://github.com/kubernetes/node-problem-detector/issues/797",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                &[Pod, Unknown],
                r"^exec (?<program>[^ ]+): exec format error$",
            ),
            Sign::new(
                Proof,
                &[Pod, Unknown],
                concat!(
                    r#"^standard_init_linux\.go:[0-9]+: exec user process caused:? "?exec format "#,
                    r#"error"?$"#,
                ),
            )
            .with_facts(&[("program", "the container's program")]),
        ],
    },
];
