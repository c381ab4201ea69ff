//! Causes in the machine below: its limits, its kernel's modules, its disk, its Docker.

use super::super::{
    Speaker::{Cli, Cri, Event, Kubelet, Pod, Runtime, System, Unknown},
    rule::{Cause, Role::Proof, Sign},
};
use super::{CALLS, COMMAND};

/// The start of an error of Docker's client, alone and quoted by kind.
macro_rules! docker {
    () => {
        r"^(?:(?:docker|ERROR|Command Output): )*"
    };
}

/// A preflight check of `kubeadm init` and `join`, by its name.
macro_rules! preflight {
    ($check:literal) => {
        concat!(r"^(?: {0,2}| {8})\[ERROR ", $check, r"\]: ")
    };
}

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "docker-unreachable",
        title: "there is no Docker engine to talk to",
        cause: "Docker's client cannot reach the engine at {socket}: it is not running, or it \
                listens elsewhere",
        cure: "start it (systemctl start docker, Docker Desktop), or set DOCKER_HOST or docker \
               context use to the engine that runs; in a CI job the socket or a docker:dind \
               service has to be given to the job",
        links: &["https://docs.docker.com/engine/daemon/troubleshoot/"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    docker!(),
                    r"Cannot connect to the Docker daemon at (?<socket>[^ ]+)\. Is the docker ",
                    "daemon running"
                ),
            ),
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    docker!(),
                    r"failed to connect to the docker API at (?<socket>[^ ;]+)(?:; check if|: )"
                ),
            ),
        ],
    },
    Cause {
        id: "docker-not-allowed",
        title: "this user may not talk to the Docker engine",
        cause: "the engine's socket {socket} is there, and its permissions keep this user out",
        cure: "add the user to the group docker (usermod -aG docker USER, then log in again), \
               or use rootless Docker; that group is as good as root",
        links: &["https://docs.docker.com/engine/install/linux-postinstall/"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                docker!(),
                r"(?:Got )?permission denied while trying to connect to the (?:Docker daemon ",
                r"socket|docker API) at (?<socket>[^ :]+:/+[^ :]+)"
            ),
        )],
    },
    Cause {
        id: "machine-too-small",
        title: "the machine is smaller than kubeadm demands",
        cause: "kubeadm refuses this machine[: it has {processors} processor][, it has {memory} \
                MB of memory]; a control plane needs two processors and 1700 MB",
        cure: "give the machine (or Docker Desktop's VM) more; for a test \
               --ignore-preflight-errors=NumCPU,Mem goes on all the same",
        links: &[
            "https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/#before-you-begin",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    preflight!("NumCPU"),
                    r"the number of available CPUs (?<processors>[0-9]+) is less than"
                ),
            ),
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    preflight!("Mem"),
                    r"the system RAM \((?<memory>[0-9]+) MB\) is less than"
                ),
            ),
        ],
    },
    Cause {
        id: "br-netfilter-missing",
        title: "the kernel module br_netfilter is not loaded",
        cause: "packets on a bridge do not pass iptables: the kernel module br_netfilter is not \
                loaded, or net.bridge.bridge-nf-call-iptables is 0; Services do not work from \
                pods of the same node then",
        cure: "modprobe br_netfilter and sysctl net.bridge.bridge-nf-call-iptables=1 on the \
               host (nodes in containers have the host's kernel), and both in \
               /etc/modules-load.d and /etc/sysctl.d to stay",
        links: &[
            "https://kubernetes.io/docs/setup/production-environment/container-runtimes/#network-configuration",
            "https://github.com/flannel-io/flannel/issues/2068",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMMAND,
                preflight!("FileContent--proc-sys-net-bridge-bridge-nf-call-ip6?tables"),
            ),
            Sign::new(
                Proof,
                &[Pod, Unknown],
                concat!(
                    "^Failed to check br_netfilter: stat /proc/sys/net/bridge/",
                    "bridge-nf-call-iptables: no such file or directory"
                ),
            ),
        ],
    },
    Cause {
        id: "ip-forward-off",
        title: "the kernel forwards no packets",
        cause: "net.ipv4.ip_forward is not 1: nothing gets from pods to other nodes or back",
        cure: "sysctl net.ipv4.ip_forward=1, and in /etc/sysctl.d to stay",
        links: &[
            "https://kubernetes.io/docs/setup/production-environment/container-runtimes/#network-configuration",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                preflight!(
                    "FileContent--proc-sys-net-ipv[46](?:-conf-default)?-(?:ip_)?forward(?:ing)?"
                ),
                "/proc/sys/net/ipv[46]/"
            ),
        )],
    },
    Cause {
        id: "tool-missing",
        title: "a program that Kubernetes needs is not installed",
        cause: "kubeadm does not find {tool} in the PATH of this machine",
        cure: "install it (conntrack is in the package conntrack or conntrack-tools, crictl in \
               cri-tools); under sudo the PATH is another",
        links: &[
            "https://kubernetes.io/docs/reference/setup-tools/kubeadm/implementation-details/#preflight-checks",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                preflight!("FileExisting-[a-z0-9-]+"),
                "(?<tool>[a-z0-9-]+) not found in system path"
            ),
        )],
    },
    Cause {
        id: "nat-missing",
        title: "the kernel has no NAT table for iptables",
        cause: "iptables finds no table {table} in the kernel: its module is not loaded and \
                cannot be loaded from here (a kernel built without it, /lib/modules not given \
                to the container, a reboot due after a kernel upgrade)",
        cure: "modprobe iptable_nat (or nft_chain_nat) on the host; mount /lib/modules into the \
               container that is the node; reboot if the running kernel's modules are gone",
        links: &["https://github.com/docker-library/docker/issues/350"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                &[Runtime, System, Cli, Unknown],
                concat!(
                    r"^(?:.*failed to (?:start daemon|create NAT chain).*)?(?:ip6?tables|",
                    r"iptables-restore) v[0-9.]+(?: \(legacy\))?: can't initialize ip6?tables ",
                    r"table `(?<table>[a-z]+)': (?:Table does not exist|iptables who\?)"
                ),
            ),
            Sign::new(
                Proof,
                &[Runtime, System, Cli, Unknown],
                concat!(
                    r"^(?:.*failed to (?:start daemon|create NAT chain).*)?ip6?tables v[0-9.]+ ",
                    r"\(nf_tables\): TABLE_ADD failed \([^)]*\): table (?<table>[a-z]+)"
                ),
            ),
        ],
    },
    Cause {
        id: "key-quota",
        title: "the kernel's quota of keys for a user is used up",
        cause: "a container cannot start: each takes a key ring of the user who runs it, and \
                the kernel gives a user 200 keys; the disk in the message is none",
        cure: "sysctl kernel.keys.maxkeys=20000 kernel.keys.maxbytes=500000 on the host; \
               /proc/key-users shows who has how many",
        links: &["https://github.com/kubernetes-sigs/kind/issues/3806"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                r"(?:(?:unable to )?join session keyring: (?:unable to )?create session key|",
                r"crun ?: create keyring [^ ]+): [dD]isk quota exceeded"
            ),
        )],
    },
    Cause {
        id: "process-limit",
        title: "no more processes may be started",
        cause: "a program could not start a process or thread[ ({program})]: the limit of the \
                user (ulimit -u), of the cgroup (pids.max, TasksMax, Docker's --pids-limit) or \
                of the kernel (kernel.pid_max, kernel.threads-max) is reached",
        cure: "raise the limit that is reached (cat /sys/fs/cgroup/**/pids.events shows \
               which), or run fewer nodes and pods; look for a program that leaks threads",
        links: &[
            "https://kubernetes.io/docs/concepts/policy/pid-limiting/",
            "https://github.com/kubernetes/kubernetes/issues/125242",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                &[Runtime, Kubelet, System, Cli, Unknown],
                concat!(
                    r"^(?:.*(?:unknown|error|stderr)[ =:]+.*)?(?:runtime: failed to create new OS ",
                    r"thread \(have [0-9]+ already; errno=11\)|runtime/cgo: pthread_create failed: ",
                    "Resource temporarily unavailable)"
                ),
            ),
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    r#"^(?:"[A-Z][^"]*" .*|[a-z-]+: .*|[A-Z][A-Za-z]+ .*)fork/exec (?<program>/[^ :]+): "#,
                    "resource temporarily unavailable"
                ),
            ),
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    r"^(?:-?(?:ba|da|z)?sh|[./][^ :]*): (?:line )?(?:[0-9]+: )?(?:fork: )?",
                    r"(?:retry: |Cannot fork|Resource temporarily unavailable)"
                ),
            ),
        ],
    },
    Cause {
        id: "file-system-read-only",
        title: "the node's file system is read-only",
        cause: "{path} cannot be written: the kernel made its file system read-only after an \
                error of the disk, or it was mounted so",
        cure: "look for errors of the disk before it in the kernel's log (dmesg), then fsck and \
               reboot or change the disk; a folder that the node needs must not be mounted \
               read-only",
        links: &["https://github.com/kubernetes/node-problem-detector/issues/274"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                &[System, Unknown],
                r"^(?:\[[^\]]*\] )?EXT4-fs(?: error)? \((?:device )?(?<path>(?:[shv]d|xvd|nvme|dm-|md|mmcblk|rbd)[^ :)]*)\): Remounting filesystem read-only",
            ),
            Sign::new(
                Proof,
                &[Runtime, Kubelet, Event, Cri, Cli, Pod, Unknown],
                concat!(
                    r"(?:open|mkdir|write|unlink|unlinkat|rename|chmod|remove|mknod|symlink) ",
                    r#"(?<path>/(?:var/lib/(?:kubelet|containerd|containers|docker|etcd|rancher)|"#,
                    r"etc/kubernetes|run/containerd|var/log/(?:pods|containers))(?:/[^ :]*)?): ",
                    "read-only file system"
                ),
            ),
        ],
    },
];
