//! Causes that lie outside the node: the machine's limits, its disk, its kernel, its programs.

use super::super::{
    Speaker::{Kubelet, Pod, Runtime, System, Unknown},
    rule::{Cause, Role::Proof, Sign},
};
use super::{CALLS, COMMAND, KUBELET};

/// Sources that may watch files on a node.
const WATCHES: &[super::Speaker] = &[Runtime, Kubelet, System, Unknown];
const INSTANCES: &[(&str, &str)] = &[("limit", "max_user_instances")];

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "inotify-exhausted",
        title: "the host's limits of inotify are used up",
        cause: "a process of the node could not watch files: all nodes share the host's limits of \
                inotify for a user, and fs.inotify.{limit} is used up; \"too many open files\" \
                and \"no space left on device\" are the kernel's words for that, neither files \
                nor disk are at fault",
        cure: "sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288 on the \
               host (in /etc/sysctl.d to keep it), then make the node again; or run fewer nodes",
        links: &[
            "https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files",
            "https://github.com/kubernetes-sigs/cluster-api/issues/6324",
            "https://github.com/kubernetes/kubernetes/issues/104303",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                WATCHES,
                r"\b(?:failed to create|error creating) fsnotify watcher: too many open files",
            )
            .with_facts(INSTANCES),
            Sign::new(
                Proof,
                WATCHES,
                concat!(
                    r#"(?:^(?:Error: )?|(?:^|\] )"command failed" err=")(?:[Ff]ailed|unable) "#,
                    r"[^`]*",
                    r"\binotify_init1?: too many open files"
                ),
            )
            .with_facts(INSTANCES),
            // systemd as the first process of a node, in its own log and quoted by others.
            Sign::new(
                Proof,
                WATCHES,
                concat!(
                    r"(?:^|\\n(?:\\u001b\[[0-9;]*m)?)Failed to (?:create (?:control group ",
                    r")?inotify ",
                    r"object|allocate directory watch): Too many open files(?:$|\\)"
                ),
            )
            .with_facts(INSTANCES),
            // kube-proxy, which watches its configuration.
            Sign::new(
                Proof,
                &[Pod, Unknown],
                r#"^"command failed" err="failed complete: too many open files"$"#,
            )
            .with_facts(INSTANCES),
            Sign::new(
                Proof,
                WATCHES,
                r"\binotify_add_watch /[^ ]+: no space left on device",
            )
            .with_facts(&[("limit", "max_user_watches")]),
        ],
    },
    Cause {
        id: "runc-detached-procfs-apparmor",
        title: "an outer AppArmor profile denies runc its sysctls",
        cause: "no container can start: runc writes {sysctl} through a mount of /proc that stands \
                nowhere in the tree (since 1.2.8, 1.3.3 and 1.4.0-rc.3, the fix of \
                CVE-2025-52881), AppArmor takes its path for one below /sys, and the profile of \
                the LXC, LXD or Incus container around the engine denies that",
        cure: "update lxc, lxd or incus on the host (profiles for nesting no longer have these \
               rules), or run the outer container with an unconfined AppArmor profile \
               (lxc.apparmor.profile = unconfined); an older runc opens the CVE again",
        links: &[
            "https://github.com/opencontainers/runc/issues/4968",
            "https://github.com/opencontainers/runc/issues/4972",
            "https://github.com/lxc/incus/issues/2623",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r"unable to start container process: error during container init: open sysctl ",
                r"(?<sysctl>[a-z0-9_./-]+) file: ",
                r"reopen fd [0-9]+: permission denied"
            ),
        )],
    },
    Cause {
        id: "overlay-refused",
        title: "the filesystem below does not take overlay mounts",
        cause: "containerd's overlayfs snapshotter does not work[ on {folder}][: {why}]: the \
                folder lies on a filesystem that overlayfs does not accept above it: another \
                overlay (an engine inside a container), NFS, ZFS before 2.2, or the kernel denies \
                the mount inside an unprivileged container",
        cure: "put the runtime's folder (/var/lib/containerd, /var/lib/rancher/k3s) on a volume \
               of ext4 or xfs (in Docker: --volume NAME:/var/lib/containerd), or choose the \
               snapshotter fuse-overlayfs or native (kind: \
               KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER; k3s: --snapshotter)",
        links: &[
            "https://github.com/containerd/containerd/issues/5464",
            "https://github.com/k3s-io/k3s/issues/19",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                &[Runtime, Kubelet, System, Unknown],
                concat!(
                    r#""overlayfs" snapshotter cannot be enabled for "(?<folder>[^"]+)", try "#,
                    r"using ",
                    r#""fuse-overlayfs" or "native": failed to mount overlay: "#,
                    r"(?<why>invalid argument|permission denied|operation not permitted|no ",
                    r"such device)"
                ),
            ),
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    r"failed to create (?:containerd|shim) task: failed to mount rootfs component",
                    r"(?: &\{overlay overlay \[[^\]]*upperdir=(?<folder>/[^ \]]+)[^\]]*\]\})?: ",
                    r"(?<why>invalid argument)"
                ),
            ),
            Sign::new(
                Proof,
                &[System, Unknown],
                concat!(
                    r"\boverlay(?:fs)?: filesystem on '?(?<folder>/[^' ",
                    r"]*/io\.containerd\.snapshotter\.v1\.",
                    r"overlayfs/snapshots/[0-9]+/(?:fs|work))'? not supported as upperdir"
                ),
            ),
        ],
    },
    Cause {
        id: "kubelet-device-not-seen",
        title: "the kubelet does not see the device of its folder",
        cause: "the kubelet cannot start: {folder} lies on a filesystem whose device is not among \
                those it sees: Btrfs (its subvolumes have numbers of their own), NFS, or a node \
                in a container that does not have the device",
        cure: "give the node the host's device (kind: extraMounts with hostPath and containerPath \
               /dev/<device>, the one that `df /var/lib/docker` names), put the engine's data on \
               ext4 or xfs, or set localStorageCapacityIsolation: false in the kubelet's \
               configuration (Kubernetes 1.25 and newer)",
        links: &[
            "https://kind.sigs.k8s.io/docs/user/known-issues/#failed-to-get-rootfs-info--stat-failed-on-dev",
            "https://github.com/kubernetes/kubernetes/issues/94335",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            KUBELET,
            concat!(
                r#"(?:^|\] )"?Failed to start ContainerManager"? .*failed to get rootfs info: "#,
                r"failed to get device ",
                r#"for dir "(?<folder>[^"]+)": could not find device with major: [0-9]+, minor: "#,
                r"[0-9]+ in cached partitions map"
            ),
        )],
    },
    Cause {
        id: "docker-snap-tmp",
        title: "Docker from a snap does not see /tmp",
        cause: "kind writes the image to a folder in /tmp, and a Docker that was installed as a \
                snap has a /tmp of its own: for it {folder} is not there",
        cure: "set TMPDIR to a folder below your home, as in `mkdir -p ~/tmp && TMPDIR=~/tmp kind \
               load …`, or install Docker from its packages instead of the snap",
        links: &[
            "https://kind.sigs.k8s.io/docs/user/known-issues/#docker-installed-with-snap",
            "https://github.com/kubernetes-sigs/kind/issues/3377",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                r"\bfailed to save image: invalid output path: directory ",
                r#""(?<folder>/tmp/images-tar"#,
                r#"[0-9]+)" does not exist"#
            ),
        )],
    },
    Cause {
        id: "rootless-not-delegated",
        title: "a rootless engine does not have the cgroup controllers",
        cause: "kind refuses the rootless engine: of the controllers cpu, memory and pids, which \
                nodes need, some are not delegated to this user",
        cure: "write Delegate=yes below a heading Service to \
               /etc/systemd/system/user@.service.d/delegate.conf, systemctl daemon-reload, and \
               log in anew; or run `systemd-run --scope --user -p Delegate=yes kind create \
               cluster`. `docker info` or `podman info` name the controllers that are there",
        links: &[
            "https://kind.sigs.k8s.io/docs/user/rootless/",
            "https://github.com/kubernetes-sigs/kind/issues/3936",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                r"^ERROR: failed to create cluster: running kind with rootless provider requires ",
                r#"setting systemd property "Delegate=yes""#
            ),
        )],
    },
];
