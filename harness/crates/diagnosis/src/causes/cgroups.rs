//! Causes in control groups: their version, their controllers, who manages them.

use super::super::{
    Speaker::{Cli, Kubelet, Runtime, System, Unknown},
    rule::{Cause, Role::Proof, Sign},
};
use super::{CALLS, KUBELET};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "cgroup-v1-refused",
        title: "the kubelet refuses a host with cgroup v1",
        cause: "the kubelet cannot start: the host uses cgroup v1, and from Kubernetes 1.35 on \
                the kubelet refuses that by default (failCgroupV1: true)",
        cure: "boot the host with cgroup v2 (kernel command line \
               systemd.unified_cgroup_hierarchy=1; WSL2: kernelCommandLine = cgroup_no_v1=all in \
               .wslconfig), or set failCgroupV1: false in the KubeletConfiguration, or use a node \
               of Kubernetes 1.34 or older",
        links: &[
            "https://kubernetes.io/docs/concepts/architecture/cgroups/",
            "https://git.k8s.io/enhancements/keps/sig-node/5573-remove-cgroup-v1",
            "https://github.com/NVIDIA/OpenShell/pull/360",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            KUBELET,
            concat!(
                r#"(?:\bkubelet exited: |"command failed" err="|^Error: )failed to validate "#,
                r"kubelet ",
                r"configuration, error: kubelet is configured to not run on a host using ",
                r"cgroup v1\."
            ),
        )],
    },
    Cause {
        id: "root-cgroup-has-processes",
        title: "a cgroup that shall have children has processes",
        cause: "cgroup v2 lets no cgroup have both processes and children with domain \
                controllers: {cgroup} cannot be entered because a process still runs in the \
                cgroup above it, as the first process of a container does that nothing has moved",
        cure: "use an image whose entrypoint moves its processes into a child cgroup before it \
               starts the kubelet or the runtime (rancher/k3s since pull 4086, docker:dind, \
               kindest/node), or run systemd as the first process; by hand: mkdir \
               /sys/fs/cgroup/init and write every pid of /sys/fs/cgroup/cgroup.procs into its \
               cgroup.procs",
        links: &[
            "https://github.com/k3s-io/k3s/issues/4085",
            "https://github.com/k3s-io/k3s/pull/4086",
            "https://github.com/containerd/containerd/issues/6659",
            "https://docs.kernel.org/admin-guide/cgroup-v2.html#no-internal-process-constraint",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r#"(?:err="|^Failed to start ContainerManager |(?:caused|configuration): "#,
                r#")cannot enter cgroupv2 "(?<cgroup>/sys/fs/cgroup[^"]*)" with domain "#,
                r"controllers ",
                r"-- it is in an invalid state"
            ),
        )],
    },
    Cause {
        id: "cgroup-controller-missing",
        title: "a cgroup controller that Kubernetes needs is not there",
        cause: "the cgroup controllers[ {controllers}] are not available: the kernel was booted \
                without memory (the default of Raspberry Pi OS and of some Debian and Alpine \
                kernels), or they are not delegated to this container or user",
        cure: "add cgroup_enable=memory cgroup_memory=1 (and cgroup_enable=cpuset) to the kernel \
               command line (Raspberry Pi: /boot/firmware/cmdline.txt, one line) and reboot; in a \
               container or rootless, have them delegated. cat /sys/fs/cgroup/cgroup.controllers \
               (v1: /proc/cgroups) shows what is there",
        links: &[
            "https://github.com/k3s-io/k3s/issues/1825",
            "https://github.com/k3d-io/k3d/issues/853",
            "https://docs.k3s.io/installation/requirements?os=pi",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                &[Cli, Unknown],
                concat!(
                    r"(?:^ *|\\n(?:\\t)?)\[ERROR SystemVerification\]: missing (?:required ",
                    r")?cgroups: (?<controllers>[a-z_]+(?:[ ,]+[a-z_]+)*)",
                ),
            ),
            Sign::new(
                Proof,
                &[Kubelet, Runtime, System, Unknown],
                r"^failed to find (?<controllers>memory) cgroup(?: \(v2\)$|, you may need to add )",
            ),
            Sign::new(
                Proof,
                KUBELET,
                concat!(
                    r#"(?:^|\] )"?Failed to start ContainerManager"? .*system validation "#,
                    r"failed - Following Cgroup ",
                    r"subsystem not mounted: \[(?<controllers>[a-z_ ]+)\]"
                ),
            ),
        ],
    },
    Cause {
        id: "cgroup-driver-mismatch",
        title: "kubelet and runtime manage cgroups in different ways",
        cause: "no pod can start: the kubelet's cgroup driver is {kubelet}, the runtime's is \
                {runtime}, and they name cgroups in different ways",
        cure: "give both one driver: cgroupDriver: systemd in the kubelet's configuration \
               (/var/lib/kubelet/config.yaml) and SystemdCgroup = true in the options of \
               containerd's runc runtime (Docker: exec-opts native.cgroupdriver=systemd in \
               /etc/docker/daemon.json), then restart both; where no systemd runs, cgroupfs and \
               false",
        links: &[
            "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/configure-cgroup-driver/",
            "https://github.com/kubernetes-sigs/kubespray/issues/8122",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    r#"expected cgroupsPath to be of format "slice:prefix:name" for systemd "#,
                    r"cgroups, got ",
                    r#""(?:/[^"]*)?/kubepods/[^"]*" instead"#
                ),
            )
            .with_facts(&[("kubelet", "cgroupfs"), ("runtime", "systemd")]),
            Sign::new(
                Proof,
                KUBELET,
                concat!(
                    r#"misconfiguration: kubelet cgroup driver: "(?<kubelet>[a-z]+)" is "#,
                    r"different from ",
                    r#"docker cgroup driver: "(?<runtime>[a-z]+)""#
                ),
            ),
        ],
    },
    Cause {
        id: "systemd-cgroups-without-systemd",
        title: "the runtime asks a systemd that does not run for cgroups",
        cause: "no container can start: the runtime is set to have systemd make its cgroups \
                (SystemdCgroup = true, --exec-opt native.cgroupdriver=systemd), and systemd is \
                not the first process here",
        cure: "set SystemdCgroup = false in the options of containerd's runc runtime and \
               cgroupDriver: cgroupfs in the kubelet's configuration (Docker: remove \
               native.cgroupdriver=systemd), or boot systemd (WSL2: systemd=true in \
               /etc/wsl.conf)",
        links: &[
            "https://github.com/opencontainers/runc/issues/3462",
            "https://github.com/moby/moby/issues/38753",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r"OCI runtime create failed: (?:.*: )?(?:systemd not running on this host, ",
                r"cannot use ",
                r"systemd cgroups manager|systemd cgroup flag passed, but systemd support for ",
                r"managing cgroups is not available)"
            ),
        )],
    },
    Cause {
        id: "node-wants-cgroup-v1",
        title: "the container's systemd needs a hierarchy of cgroup v1",
        cause: "systemd as the first process stops: it wants the hierarchy /sys/fs/cgroup/systemd \
                of cgroup v1, which may not be mounted here: the host has cgroup v2 and the \
                image's systemd is too old for it, or the host runs cgroup v1 without systemd",
        cure: "use a newer node image (kind: one that its release notes name, by digest); on a \
               host without systemd: mkdir /sys/fs/cgroup/systemd and mount -t cgroup -o \
               none,name=systemd cgroup /sys/fs/cgroup/systemd before the node starts",
        links: &[
            "https://github.com/lxc/lxc/issues/4072",
            "https://systemd.io/CONTAINER_INTERFACE/",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            &[System, Cli, Unknown],
            concat!(
                r"^Failed to mount cgroup at /sys/fs/cgroup/systemd: (?:Operation not permitted",
                r"|Permission denied)$",
            ),
        )],
    },
];
