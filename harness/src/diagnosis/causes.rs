//! The causes that are known, each with the lines it is recognised by: roots of others first.
//!
//! A pattern is matched against a line without headers, its quotes unescaped. It has to hold
//! so much of the message that nothing else says it: the step that failed, not only the words
//! at the end of the chain. Every cause has fixtures, see `tests.rs`.

use super::{
    Source::{self, Cli, Cri, Event, Kubelet, Pod, Runtime, System, Unknown},
    rule::{
        Cause,
        Role::{After, Before, Detail, Proof, Reset},
        Sign,
    },
};

/// Where a refusal of the runtime shows: itself, those that called it, and what they told.
const CALLS: &[Source] = &[Runtime, Kubelet, Event, Cri, Cli, Unknown];
const RUNTIME: &[Source] = &[Runtime, Unknown];
const KUBELET: &[Source] = &[Kubelet, Unknown];
const COMMAND: &[Source] = &[Cli, Unknown];
const PODS: &[Source] = &[Kubelet, Event, Unknown];

/// A 2.0 to 2.2 shim's answer as a 1.7 daemon refuses it, and as a 1.6 daemon dials it.
const JSON_ON_1_7: &str = concat!(
    r"(?:failed to create containerd task|\bctr): failed to start shim: start failed: ",
    r"unsupported shim version \([3-9]\): not implemented"
);
const JSON_ON_1_6: &str = concat!(
    r"(?:failed to create containerd task|\bctr): failed to start shim: start failed: ",
    r#"dial unix (?:\\x00)?\{"version":[3-9],"address":"[^"]*","protocol":"[a-z]+"\}: "#,
    r"connect: invalid argument"
);
/// A 2.3 shim's answer as older daemons dial it: protobuf, whose second field is the address.
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
const STARTED: &str = r"^starting containerd .*\bversion=v?(?<running>[0-9][^ ]*)";
const NEVER_PULL: &str =
    r#"Container image "(?<image>[^"]+)" is not present with pull policy of Never"#;

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "containerd-config-unsupported",
        title: "containerd does not read this version of its configuration",
        cause: "containerd cannot start: its configuration file is of version {config}, \
                and this release reads only older ones[, up to {most}]: version 3 needs \
                containerd 2.0, version 4 needs 2.3",
        cure: "write the file as version 2, which every containerd from 1.6 to 2.x reads, or \
               install the containerd it was written for",
        links: &["https://github.com/containerd/containerd/pull/10165"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                RUNTIME,
                r"^containerd: failed to load TOML .*: unsupported config version `(?<config>[0-9]+)`",
            ),
            Sign::new(
                Detail,
                RUNTIME,
                r"^containerd config version `[0-9]+` is not supported, the max version is `(?<most>[0-9]+)`",
            ),
        ],
    },
    Cause {
        id: "registry-mirrors-and-config-path",
        title: "registry mirrors are configured in two ways",
        cause: "containerd runs without its CRI plugin: its configuration has registry.mirrors \
                and config_path, and only one of them may be set; node images have set \
                config_path since kind 0.27.0",
        cure: "remove registry.mirrors and registry.configs from containerd's configuration (in \
               kind, from containerdConfigPatches) and write /etc/containerd/certs.d/<registry>/\
               hosts.toml instead",
        links: &[
            "https://github.com/containerd/containerd/blob/main/docs/hosts.md",
            "https://kind.sigs.k8s.io/docs/user/local-registry/",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            RUNTIME,
            "invalid (?:plugin config|cri image config): .mirrors. cannot be set when \
             .config_path. is provided",
        )],
    },
    Cause {
        id: "inotify-exhausted",
        title: "no inotify instance is left on the host",
        cause: "a process of the node could not watch files: all nodes share the host's limit of \
                inotify instances for a user, and it is used up",
        cure: "sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288 on \
               the host, or run fewer nodes",
        links: &[
            "https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            &[Runtime, Kubelet, System, Unknown],
            r"(?:failed to create fsnotify watcher|\binotify_init1?): too many open files",
        )],
    },
    Cause {
        id: "cri-plugin-missing",
        title: "the runtime does not offer CRI",
        cause: "the runtime at {socket} answers but does not serve CRI v1: containerd's cri \
                plugin is disabled or did not load",
        cure: "remove \"cri\" from disabled_plugins in /etc/containerd/config.toml (packages \
               made for Docker put it there) and restart containerd; if it is not there, \
               containerd's journal names what kept the plugin from loading",
        links: &[
            "https://github.com/containerd/containerd/issues/8139",
            "https://github.com/kubernetes/kubernetes/issues/131164",
        ],
        follows: Some("registry-mirrors-and-config-path"),
        signs: &[Sign::new(
            Proof,
            &[Kubelet, Cri, Cli, Unknown],
            concat!(
                r"validate service connection: (?:validate CRI v1 runtime API|CRI v1 runtime API ",
                r#"is not implemented) for endpoint "(?<socket>[^"]+)": rpc error: "#,
                r"code = Unimplemented desc = unknown service runtime\.v1\.RuntimeService"
            ),
        )],
    },
    Cause {
        id: "kubelet-image-gc-thresholds",
        title: "the kubelet refuses its image GC thresholds",
        cause: "the kubelet cannot start: imageGCLowThresholdPercent {low} is not below \
                imageGCHighThresholdPercent {high}",
        cure: "set only imageGCHighThresholdPercent: 100, which turns image garbage collection \
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
               delegated (cgroup v2) before the kubelet starts; inside containers that takes \
               a private cgroup namespace",
        links: &["https://github.com/kubernetes-sigs/kind/issues/1969"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            KUBELET,
            concat!(
                r#"failed to run Kubelet: invalid configuration: (?:cgroup \["(?<cgroup>[^"]+)""#,
                r#"\] has some missing (?:paths|controllers)|cgroup-root \["[^"]+"\] doesn't exist)"#
            ),
        )],
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
                r"^(?:RunPodSandbox for .+ returns sandbox id|StartContainer for .+ returns successfully)",
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
                .tells(&[("daemon", "1.7"), ("shim", "2.0 to 2.2")]),
            Sign::new(Proof, CALLS, JSON_ON_1_6)
                .tells(&[("daemon", "1.6"), ("shim", "2.0 to 2.2")]),
            Sign::new(Proof, CALLS, PROTOBUF_ON_1_6)
                .tells(&[("daemon", "1.6"), ("shim", "2.3 or newer")]),
            Sign::new(Proof, CALLS, PROTOBUF_ON_1_7)
                .tells(&[("daemon", "1.7"), ("shim", "2.3 or newer")]),
            Sign::new(Proof, CALLS, PROTOBUF_ON_2)
                .tells(&[("daemon", "2.0 to 2.2"), ("shim", "2.3 or newer")]),
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
                r#"^"Failed to ApplyOOMScoreAdj" err="write /proc/[^ ]+/oom_score_adj: permission denied""#,
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
    Cause {
        id: "image-volume-empty-host-path",
        title: "an image volume became a mount of an empty host path",
        cause: "a container was to mount an image, and the runtime[ (containerd {running})] \
                took the mount for a folder without a name: either the client (crictl or another \
                user of cri-api before 0.31) does not send Mount.image, or the server \
                (containerd before 2.1, CRI-O before 1.31) does not know it",
        cure: "use containerd 2.1 or CRI-O 1.31 or newer, and crictl 1.31 or newer: an old side \
               drops the field without a word",
        links: &[
            "https://github.com/cri-o/cri-o/issues/8404",
            "https://github.com/containerd/containerd/pull/10579",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    r#"failed to generate (?:container "[^"]*" )?spec: failed to generate spec: "#,
                    r#"failed to mkdir "": mkdir : no such file or directory"#
                ),
            ),
            Sign::new(
                Proof,
                CALLS,
                r"(?:desc = |^Error: |Response error: )mount\.HostPath is empty",
            ),
            Sign::new(Detail, RUNTIME, STARTED),
        ],
    },
    Cause {
        id: "kind-snapshotter-not-detected",
        title: "kind load does not find the node's snapshotter",
        cause: "this kind looks for the snapshotter in `containerd config dump`[ of version \
                {config}] at a key that the containerd in the node does not write: kind 0.26.0 \
                and older know version 2 only, containerd 2.0 and newer write version 3 or 4",
        cure: "use kind 0.27.0 or newer (0.32.0 for nodes with containerd 2.3), or the node \
               image that this kind's release notes name, by digest",
        links: &[
            "https://github.com/kubernetes-sigs/kind/issues/3853",
            "https://github.com/spiffe/spire/issues/5812",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                r"(?:^|: )failed to detect containerd snapshotter",
                r#"(?: \(config version (?<config>[0-9]+)\))?"?$"#
            ),
        )],
    },
    Cause {
        id: "kind-config-version-unknown",
        title: "kind load does not know the node's containerd configuration",
        cause: "the containerd in the node writes its configuration in version {config}, and \
                this kind reads {reads}",
        cure: "use kind 0.32.0 or newer for nodes with containerd 2.3 (version 4), or the node \
               image that this kind's release notes name, by digest",
        links: &["https://github.com/kubernetes-sigs/kind/releases/tag/v0.32.0"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                r"(?:^|: )unknown containerd config version: (?<config>[0-9]+) ",
                r"\(supported versions: (?<reads>[0-9]+(?:, [0-9]+)* and [0-9]+)\)"
            ),
        )],
    },
    Cause {
        id: "import-not-default-snapshotter",
        title: "ctr cannot unpack for this snapshotter",
        cause: "`ctr images import --snapshotter` of containerd 2.0 and newer goes through the \
                transfer service, which unpacks for the default snapshotter only (in 2.0.0 and \
                2.0.1 not even for that with --all-platforms)",
        cure: "pass --local to `ctr images import`, or add an unpack_config for the snapshotter \
               to [plugins.\"io.containerd.transfer.v1.local\"]; `kind load` needs nodes with \
               the default snapshotter and containerd 2.0.2 or newer",
        links: &[
            "https://github.com/containerd/containerd/issues/11228",
            "https://github.com/containerd/containerd/issues/11606",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            r"\bctr: (?:.*: )?unable to initialize unpacker: no unpack platforms defined",
        )],
    },
    Cause {
        id: "import-content-missing",
        title: "the image archive names content that it does not hold",
        cause: "the import of all platforms wants {digest}, which is not in the archive: `docker \
                save` of a multi-platform image from the containerd image store (the default \
                since Docker 29) writes the whole index and one platform's layers",
        cure: "docker image save --platform linux/<arch> IMAGE -o image.tar, then `kind load \
               image-archive image.tar`",
        links: &[
            "https://github.com/kubernetes-sigs/kind/issues/3795",
            "https://github.com/kubernetes-sigs/kind/pull/4247",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            r"\bctr: (?:.*: )?content digest (?<digest>sha256:[0-9a-f]{64}): not found",
        )],
    },
    Cause {
        id: "image-collected",
        title: "the kubelet's garbage collection removed a loaded image",
        cause: "the kubelet removed unused images to free disk[ ({resource})], and {image} is \
                now wanted and gone: it was loaded into the node, and no registry gives it back",
        cure: "pin loaded images (`ctr -n k8s.io images label IMAGE \
               io.cri-containerd.pinned=pinned`, containerd 1.6.25, 1.7.10 or newer), and set \
               imageGCHighThresholdPercent: 100 together with \"0%\" for the disk signals of \
               evictionHard; nodes in containers see the host's disk, so free that too",
        links: &[
            "https://github.com/kubernetes-sigs/cluster-api/issues/11856",
            "https://github.com/kubernetes-sigs/cluster-api/pull/11904",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Before,
                KUBELET,
                r#"^"Removing image to free bytes" imageID="sha256:[0-9a-f]+""#,
            ),
            Sign::new(After, PODS, NEVER_PULL),
            Sign::new(
                After,
                PODS,
                r#"failed to pull and unpack image "(?<image>[^"]+)""#,
            )
            .of_removed(),
            Sign::new(
                Detail,
                RUNTIME,
                r#"^ImageDelete event (?:name:"|&ImageDelete\{Name:)(?<removed>[^",]+)"#,
            ),
            Sign::new(
                Detail,
                KUBELET,
                concat!(
                    r#"^"(?:Eviction manager: attempting to reclaim" resourceName="(?<resource>[^"]+)""#,
                    r"|Disk usage on image filesystem is over the high threshold)"
                ),
            ),
        ],
    },
    Cause {
        id: "image-not-in-node",
        title: "a pod may not pull its image, and the node does not have it",
        cause: "{image} is not in the node, and the pod's imagePullPolicy is Never: it was never \
                loaded there under this name, or was removed since",
        cure: "load it into every node that can run the pod, under the very name the pod asks \
               for; if it was loaded, look for `Removing image to free bytes` in the kubelet's \
               journal",
        links: &["https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy"],
        follows: Some("image-collected"),
        signs: &[Sign::new(Proof, PODS, NEVER_PULL)],
    },
    Cause {
        id: "coredns-loop",
        title: "CoreDNS forwards to itself",
        cause: "CoreDNS stops: a query it forwarded came back ({from} -> {to}), because the \
                node's resolv.conf names a loopback address such as Docker's 127.0.0.11",
        cure: "give the node a resolv.conf with an address that pods can reach, or set the \
               kubelet's resolvConf to such a file",
        links: &["https://coredns.io/plugins/loop/#troubleshooting"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            &[Pod, Unknown],
            r#"^\[FATAL\] plugin/loop: Loop \((?<from>[^ ]+) -> (?<to>[^ )]+)\) detected for zone"#,
        )],
    },
];
