//! Causes in the container runtime and its shims.

use super::super::{
    Speaker::{Cli, Cri, Kubelet, Unknown},
    rule::{
        Cause,
        Role::{After, Before, Detail, Proof, Reset},
        Sign,
    },
};
use super::{CALLS, COMMAND, KUBELET, RUNTIME, STARTED};

/// The answer of a 2.0 to 2.2 shim, as a 1.7 daemon refuses it and as a 1.6 daemon dials it.
const JSON_ON_1_7: &str = concat!(
    r"(?:failed to create containerd task|\bctr): failed to start shim: start failed: ",
    r"unsupported shim version \([3-9]\): not implemented"
);
const JSON_ON_1_6: &str = concat!(
    r"(?:failed to create containerd task|\bctr): failed to start shim: start failed: ",
    r#"dial unix (?:\\x00)?\{"version":[3-9],"address":"[^"]*","protocol":"[a-z]+"\}: "#,
    r"connect: invalid argument"
);
/// The answer of a 2.3 shim, as older daemons dial it: protobuf, with the address in its second
/// field.
const PROTOBUF_ON_1_6: &str = concat!(
    r"(?:failed to create containerd task|\bctr): failed to start shim: start failed: ",
    r"dial unix (?:\\x00)?(?:\\x08|\\b)\\x03\\x12.{1,4}unix://.*?: connect: connection refused"
);
const PROTOBUF_ON_1_7: &str = concat!(
    r"(?:failed to create containerd task|\bctr): failed to start shim: start failed: ",
    r"failed to create TTRPC connection: dial unix (?:\\x00)?(?:\\x08|\\b)\\x03\\x12",
    r".{1,4}unix://.*?: connect: connection refused"
);
const PROTOBUF_ON_2: &str = concat!(
    r"(?:failed to create containerd task|\bctr): failed to start shim: start failed: ",
    r"failed to create TTRPC connection: unsupported protocol: ",
    r"(?:\\x08|\\b)\\x03\\x12.{1,4}unix"
);

/// Callers that report a missing CRI service.
const CRI_V1: &[super::Speaker] = &[Kubelet, Cri, Cli, Unknown];

/// The error of a CRI v1 call at a socket.
macro_rules! cri_v1 {
    ($socket:expr) => {
        concat!(
            r"validate service connection: (?:validate CRI v1 runtime API|CRI v1 runtime API ",
            r#"is not implemented) for endpoint "(?<socket>"#,
            $socket,
            r#")": rpc error: code = Unimplemented desc = unknown service "#,
            r"runtime\.v1\.RuntimeService"
        )
    };
}

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "containerd-config-unsupported",
        title: "containerd does not read this version of its configuration",
        cause: "containerd cannot start: its configuration file is of version {config}, and this \
                release reads only older ones[, up to {most}]: version 3 needs containerd 2.0, \
                version 4 needs 2.3",
        cure: "write the file as version 2, which every containerd from 1.6 to 2.x reads, or \
               install the containerd it was written for",
        links: &["https://github.com/containerd/containerd/pull/10165"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                RUNTIME,
                concat!(
                    r"^containerd: failed to load TOML .*: unsupported config version ",
                    r"`(?<config>[0-9]+)`",
                ),
            ),
            Sign::new(
                Detail,
                RUNTIME,
                concat!(
                    r"^containerd config version `[0-9]+` is not supported, the max version is ",
                    r"`(?<most>[0-9]+)`",
                ),
            ),
        ],
    },
    Cause {
        id: "registry-mirrors-and-config-path",
        title: "registry mirrors are configured in two ways",
        cause: "containerd[ {running}] runs without its CRI plugin: it has registry.mirrors \
                beside config_path, and only one of them may be set. Node images have set \
                config_path since kind 0.27.0; containerd 2.2.0 and 2.2.1 (in nodes of kind 0.31) \
                add it themselves to a file of version 2 or 3 that does not have it",
        cure: "remove registry.mirrors and registry.configs from containerd's configuration \
               (<<library: in what `ClusterSpec::with_containerd_patch` got>><<program: in kind, \
               from containerdConfigPatches>>) and write \
               /etc/containerd/certs.d/<registry>/hosts.toml instead; where there is no \
               config_path, containerd 2.2.2 or newer is enough",
        links: &[
            "https://github.com/containerd/containerd/issues/12612",
            "https://github.com/containerd/containerd/blob/main/docs/hosts.md",
            "https://kind.sigs.k8s.io/docs/user/local-registry/",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                RUNTIME,
                "invalid (?:plugin config|cri image config): .mirrors. cannot be set when \
                 .config_path. is provided",
            ),
            Sign::new(Detail, RUNTIME, STARTED),
        ],
    },
    Cause {
        id: "cri-v1-missing",
        title: "the runtime is too old for CRI v1",
        cause: "the kubelet cannot start: from Kubernetes 1.26 on it speaks CRI v1 only, and the \
                runtime at {socket} does not serve it[: this is {old}]: containerd before 1.6, \
                cri-dockerd before 0.3.0 and old releases of CRI-O have v1alpha2 only",
        cure: "upgrade the runtime (containerd 1.6 or newer, cri-dockerd 0.3.0 or newer, CRI-O of \
               the kubelet's minor), or use Kubernetes 1.25, the last that speaks v1alpha2",
        links: &[
            "https://kubernetes.io/blog/2022/11/18/upcoming-changes-in-kubernetes-1-26/#cri-api-removal",
            "https://github.com/flatcar/Flatcar/issues/916",
            "https://github.com/Mirantis/cri-dockerd/issues/137",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                CRI_V1,
                cri_v1!(r"[^ ]*(?:cri-?docker|crio|dockershim)[^ ]*"),
            ),
            // containerd's socket alone is no proof; its version is.
            Sign::new(After, CRI_V1, cri_v1!(r"[^ ]*containerd[^ ]*")),
            Sign::new(
                Before,
                RUNTIME,
                r"^starting containerd .*\bversion=v?(?<old>1\.[0-5]\.[^ ]*)",
            ),
            Sign::new(
                Before,
                COMMAND,
                r"^RuntimeVersion: +v?(?<old>1\.[0-5]\.[^ ]*)$",
            ),
            Sign::new(Before, COMMAND, r"^RuntimeApiVersion: +(?<old>v1alpha2)$"),
        ],
    },
    Cause {
        id: "cri-plugin-missing",
        title: "the runtime does not offer CRI",
        cause: "the runtime[ at {socket}] answers but does not serve the CRI that it is asked \
                for: containerd's cri plugin is disabled or did not load[, or this containerd is \
                older than 1.6 and too old for CRI {v1}][, or the caller is too old: {v1alpha2} \
                is gone since containerd 2.0 and CRI-O 1.26]",
        cure: "ask `ctr version` for the daemon's version. If it is 1.6 or newer, remove \"cri\" \
               from disabled_plugins in /etc/containerd/config.toml (packages made for Docker put \
               it there) and restart containerd; if it is not there, containerd's journal names \
               what kept the plugin from loading. If it is older than 1.6, upgrade it; if the \
               caller asks for v1alpha2, upgrade kubeadm, kubelet and crictl",
        links: &[
            "https://github.com/containerd/containerd/issues/8139",
            "https://github.com/kubernetes/kubernetes/issues/131164",
            "https://github.com/containerd/containerd/issues/7799",
        ],
        follows: Some("registry-mirrors-and-config-path"),
        signs: &[
            Sign::new(Proof, CRI_V1, cri_v1!(r"[^ ]*containerd[^ ]*"))
                .with_facts(&[("v1", "v1")])
                .unless("cri-v1-missing"),
            Sign::new(
                Proof,
                CRI_V1,
                concat!(
                    r"getting status of runtime: rpc error: code = Unimplemented desc = ",
                    r"unknown service ",
                    r"runtime\.v1alpha2\.RuntimeService"
                ),
            )
            .with_facts(&[("v1alpha2", "v1alpha2")]),
        ],
    },
    Cause {
        id: "containerd-not-restarted",
        title: "containerd was upgraded under the running daemon",
        cause: "the running daemon is older than the files on its disk[: {running} was started]; \
                it started containers before, and now takes the new release's shim, or its own \
                program file is gone",
        cure: "systemctl restart containerd in the node; `containerd --version` reads the disk, \
               only `crictl version` and `ctr version` ask the daemon",
        links: &["https://github.com/containerd/containerd/issues/10984"],
        follows: None,
        signs: &[
            Sign::new(
                Before,
                RUNTIME,
                concat!(
                    r"^(?:RunPodSandbox for .+ returns sandbox id|StartContainer for .+ returns ",
                    r"successfully)",
                ),
            ),
            Sign::new(Reset, RUNTIME, r"^starting containerd "),
            Sign::new(After, RUNTIME, JSON_ON_1_7),
            Sign::new(After, RUNTIME, JSON_ON_1_6),
            Sign::new(After, RUNTIME, PROTOBUF_ON_1_6),
            Sign::new(After, RUNTIME, PROTOBUF_ON_1_7),
            Sign::new(After, RUNTIME, PROTOBUF_ON_2),
            Sign::new(
                Proof,
                COMMAND,
                r"(?:^| )/proc/[0-9]+/exe -> /[^ ]*/containerd \(deleted\)$",
            ),
            Sign::new(Detail, RUNTIME, STARTED),
        ],
    },
    Cause {
        id: "shim-newer-than-daemon",
        title: "the containerd shim is newer than the daemon",
        cause: "a containerd {daemon} daemon[ (here {running})] was answered by the shim of \
                containerd {shim}, in a form newer than it reads: no pod can start on the node",
        cure: "give the node one generation of both: put the shim of containerd {daemon} where \
               the daemon finds it (PATH of the service, not of a shell), or set runtime_path of \
               the runtime to it; before 1.6.21 and in 1.7.0 only an absolute runtime_type works",
        links: &[
            "https://github.com/kubernetes/kubernetes/issues/130590",
            "https://github.com/containerd/containerd/pull/11489",
            "https://github.com/containerd/containerd/issues/13763",
        ],
        follows: Some("containerd-not-restarted"),
        signs: &[
            Sign::new(Proof, CALLS, JSON_ON_1_7)
                .with_facts(&[("daemon", "1.7"), ("shim", "2.0 to 2.2")]),
            Sign::new(Proof, CALLS, JSON_ON_1_6)
                .with_facts(&[("daemon", "1.6"), ("shim", "2.0 to 2.2")]),
            Sign::new(Proof, CALLS, PROTOBUF_ON_1_6)
                .with_facts(&[("daemon", "1.6"), ("shim", "2.3 or newer")]),
            Sign::new(Proof, CALLS, PROTOBUF_ON_1_7)
                .with_facts(&[("daemon", "1.7"), ("shim", "2.3 or newer")]),
            Sign::new(Proof, CALLS, PROTOBUF_ON_2)
                .with_facts(&[("daemon", "2.0 to 2.2"), ("shim", "2.3 or newer")]),
            Sign::new(Detail, RUNTIME, STARTED),
        ],
    },
    Cause {
        id: "oom-score-forbidden",
        title: "the runtime may not lower an OOM score",
        cause: "no pod can start: runc dies while it lowers a container's OOM score, which the \
                kubelet was denied too: CAP_SYS_RESOURCE is not in the bounding set here",
        cure: "set restrict_oom_score_adj = true in the CRI section of containerd's \
               configuration, or give the machine CAP_SYS_RESOURCE",
        links: &["https://github.com/containerd/containerd/blob/main/docs/cri/config.md"],
        follows: None,
        signs: &[
            Sign::new(
                Before,
                KUBELET,
                concat!(
                    r#"^"Failed to ApplyOOMScoreAdj" err="write /proc/[^ ]+/oom_score_adj: "#,
                    r#"permission denied""#,
                ),
            ),
            Sign::new(
                After,
                CALLS,
                concat!(
                    r"OCI runtime create failed: runc create failed: unable to start container ",
                    r"process: can't get final child's PID from pipe: EOF"
                ),
            ),
        ],
    },
];
