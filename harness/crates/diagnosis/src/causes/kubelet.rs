//! Causes in the kubelet: its configuration, its flags, its cgroups.

use super::super::{
    Speaker::{Cli, Kubelet, Unknown},
    rule::{
        Cause,
        Role::{Detail, Proof},
        Sign,
    },
};
use super::KUBELET;

/// The kubelet's last message before it exits, in its journal, in k3s and quoted by others.
macro_rules! kubelet_says {
    ($words:expr) => {
        concat!(
            r#"(?:^(?:[Ee]rror: )?|\bkubelet exited: |(?:^|\] )"command failed" err=")"#,
            $words
        )
    };
}

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "kubelet-image-gc-thresholds",
        title: "the kubelet refuses its image GC thresholds",
        cause: "the kubelet cannot start: imageGCLowThresholdPercent {low} is not below \
                imageGCHighThresholdPercent {high}",
        cure: "set only imageGCHighThresholdPercent: 100<<library:  in the KubeletConfiguration of \
               `ClusterSpec::with_kubeadm_patch`>><<program:  in the node's \
               /var/lib/kubelet/config.yaml>>, which turns image garbage collection \
               off, and leave imageGCLowThresholdPercent at its default of 80",
        links: &[
            "https://github.com/kubernetes/kubernetes/pull/66510",
            "https://github.com/kubernetes-sigs/cluster-api/pull/11904",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            &[Kubelet, Cli, Unknown],
            concat!(
                r"invalid configuration: imageGCLowThresholdPercent ",
                r"\(--image-gc-low-threshold\) (?<low>[0-9]+) must be less than ",
                r"imageGCHighThresholdPercent \(--image-gc-high-threshold\) (?<high>[0-9]+)"
            ),
        )],
    },
    Cause {
        id: "kubelet-cgroup-missing",
        title: "the kubelet's root cgroup does not exist",
        cause: "the kubelet cannot start: its cgroupRoot[ {cgroup}] does not exist in every \
                hierarchy; nothing had made it before the kubelet started",
        cure: "make the cgroup under each controller (cgroup v1) or with its controllers \
               delegated (cgroup v2) before the kubelet starts; inside containers that takes a \
               private cgroup namespace",
        links: &["https://github.com/kubernetes-sigs/kind/issues/1969"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            KUBELET,
            concat!(
                r#"failed to run Kubelet: invalid configuration: (?:cgroup \["(?<cgroup>[^"]+)""#,
                r#"\] has some missing (?:paths|controllers)|cgroup-root \["[^"]+"\] doesn't "#,
                r"exist)"
            ),
        )],
    },
    Cause {
        id: "kubelet-unknown-flag",
        title: "the kubelet does not know a flag that it is given",
        cause: "the kubelet cannot start: it does not know {flag}[, which Kubernetes {gone} \
                removed]; the flag was written for a kubelet of another minor (by a kubeadm that \
                is older than the kubelet, by an installer, by hand), or is misspelt",
        cure: "give kubeadm and kubelet one version, and take {flag} out of \
               /var/lib/kubelet/kubeadm-flags.env, KUBELET_EXTRA_ARGS (/etc/default/kubelet, \
               /etc/sysconfig/kubelet) and kubeletExtraArgs[; {instead}]; then systemctl \
               daemon-reload and restart the kubelet",
        links: &[
            "https://github.com/kubernetes/kubeadm/issues/3281",
            "https://github.com/kubernetes-sigs/kubespray/issues/13125",
            "https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                KUBELET,
                kubelet_says!(
                    r"failed to parse kubelet flag: unknown flag: (?<flag>--[A-Za-z0-9_-]+)"
                ),
            ),
            Sign::new(
                Proof,
                &[Kubelet],
                r"^(?:Error: )?unknown flag: (?<flag>--[A-Za-z0-9_-]+)$",
            ),
            Sign::new(
                Detail,
                KUBELET,
                r"\bunknown flag: --pod-infra-container-image\b",
            )
            .with_facts(&[
                ("gone", "1.35"),
                (
                    "instead",
                    "the pause image is the runtime's: `sandbox` of pinned_images in containerd 2, \
                     sandbox_image before",
                ),
            ]),
            Sign::new(
                Detail,
                KUBELET,
                r"\bunknown flag: --container-runtime(?:$|[^-])",
            )
            .with_facts(&[("gone", "1.27"), ("instead", "there is only remote now")]),
            Sign::new(
                Detail,
                KUBELET,
                concat!(
                    r"\bunknown flag: --(?:log-dir|log-file|log-file-max-size|logtostderr",
                    r"|alsologtostderr|stderrthreshold)\b",
                ),
            )
            .with_facts(&[
                ("gone", "1.26"),
                ("instead", "the kubelet logs to its standard error"),
            ]),
            Sign::new(
                Detail,
                KUBELET,
                concat!(
                    r"\bunknown flag: --(?:network-plugin|network-plugin-mtu|cni-bin-dir",
                    r"|cni-conf-dir|cni-cache-dir|docker-endpoint|image-pull-progress-deadline)\b",
                ),
            )
            .with_facts(&[
                ("gone", "1.24"),
                (
                    "instead",
                    "networks of pods are the runtime's matter since dockershim is gone",
                ),
            ]),
        ],
    },
    Cause {
        id: "kubelet-swap-on",
        title: "the kubelet refuses to run with swap",
        cause: "the kubelet cannot start: the machine has swap, and failSwapOn is true; a node in \
                a container sees the host's swap",
        cure: "swapoff --all (and take swap out of /etc/fstab, on systems with zram its unit), or \
               set failSwapOn: false in the KubeletConfiguration; kubeadm also takes \
               --ignore-preflight-errors=Swap",
        links: &[
            "https://kubernetes.io/docs/concepts/cluster-administration/swap-memory-management/",
            "https://github.com/kubernetes/kubeadm/issues/610",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            KUBELET,
            kubelet_says!(concat!(
                r"failed to run Kubelet: [Rr]unning with swap on is not supported, please ",
                r"disable swap",
            )),
        )],
    },
    Cause {
        id: "kubelet-config-undecodable",
        title: "the kubelet cannot read its configuration file",
        cause: "the kubelet cannot start: {file} is no KubeletConfiguration that it can read: \
                {why}",
        cure: "have the file begin with apiVersion: kubelet.config.k8s.io/v1beta1 and kind: \
               KubeletConfiguration, give its values the types of the kubelet's own minor, and \
               pass it with --config (a kubeconfig is for --kubeconfig); `kubeadm upgrade node \
               phase kubelet-config` writes kubeadm's anew",
        links: &[
            "https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/",
            "https://github.com/kubernetes/kubernetes/issues/121467",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            KUBELET,
            concat!(
                r#"(?:^|err="|error: )failed to load Kubelet config file (?<file>[^ ,]+), error "#,
                r"failed to decode(?:, ",
                r"error)?: (?<why>[^ ].*)"
            ),
        )],
    },
    Cause {
        id: "kubelet-kmsg-denied",
        title: "the kubelet may not read the kernel's log",
        cause: "the kubelet cannot start: /dev/kmsg, where it looks for processes killed for want \
                of memory, is {denied} here: it runs in a user namespace (rootless, unprivileged \
                LXC), or in a container without the device",
        cure: "enable the feature gate KubeletInUserNamespace (kubelet configuration \
               featureGates; kind does so with a rootless engine), or give the container the \
               device: --device /dev/kmsg, LXC: lxc.mount.entry = /dev/kmsg dev/kmsg none \
               bind,create=file; rootless without the gate also takes sysctl \
               kernel.dmesg_restrict=0",
        links: &[
            "https://kubernetes.io/docs/tasks/administer-cluster/kubelet-in-userns/",
            "https://github.com/kubernetes-sigs/kind/issues/662",
            "https://github.com/rootless-containers/usernetes/issues/204",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                KUBELET,
                kubelet_says!(concat!(
                    r"failed to run Kubelet: failed to create kubelet: open /dev/kmsg: ",
                    r"(?<denied>operation not permitted|permission denied|no such file or ",
                    r"directory)",
                )),
            ),
            Sign::new(
                Proof,
                KUBELET,
                concat!(
                    r"^Failed to start OOM watcher open /dev/kmsg: (?<denied>operation not ",
                    r"permitted|permission denied|no such file or directory)",
                ),
            ),
        ],
    },
    Cause {
        id: "kubelet-sysctl-denied",
        title: "the kubelet may not set the kernel's settings",
        cause: "the kubelet cannot start: it wants to set {settings} of /proc/sys, and may not: \
                it runs in a user namespace (rootless, unprivileged LXC or LXD), or /proc/sys is \
                mounted read-only",
        cure: "enable the feature gate KubeletInUserNamespace (kubelet configuration \
               featureGates), run the node privileged, or set vm.overcommit_memory=1, \
               vm.panic_on_oom=0, kernel.panic=10 and kernel.panic_on_oops=1 on the host: what is \
               right already is not written",
        links: &[
            "https://kubernetes.io/docs/tasks/administer-cluster/kubelet-in-userns/",
            "https://github.com/kubernetes/kubernetes/issues/117846",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            KUBELET,
            concat!(
                r#"(?:^|\] )"?Failed to start ContainerManager"? (?:err=")?\[?open "#,
                r"/proc/sys/(?<settings>(?:vm|kernel)/",
                r"[a-z_/]+): (?:permission denied|read-only file system|operation not permitted)"
            ),
        )],
    },
    Cause {
        id: "kubelet-protect-kernel-defaults",
        title: "the kernel's settings are not those that the kubelet insists on",
        cause: "the kubelet cannot start: protectKernelDefaults is true, so it changes no setting \
                of the kernel itself, and {flag} is {actual} where it wants {expected}",
        cure: "set vm.overcommit_memory=1, vm.panic_on_oom=0, kernel.panic=10 and \
               kernel.panic_on_oops=1 (sysctl, and in /etc/sysctl.d to keep it) on the host, or \
               protectKernelDefaults: false in the KubeletConfiguration",
        links: &[
            "https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/",
            "https://github.com/bottlerocket-os/bottlerocket/issues/3780",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            KUBELET,
            concat!(
                r#"(?:^|\] )"?Failed to start ContainerManager"? (?:err=")?\[?[Ii]nvalid "#,
                r"kernel flag: ",
                r"(?<flag>[a-z_/]+), expected value: (?<expected>[0-9]+), actual value: ",
                r"(?<actual>[0-9]+)"
            ),
        )],
    },
];
