//! Causes in images: loaded, mounted, removed.

use super::super::{
    Speaker::{self, Cli, Cri, Event, Kubelet, Runtime, System, Unknown},
    rule::{
        Cause,
        Role::{After, Before, Detail, Proof},
        Sign,
    },
};
use super::{CALLS, COMMAND, KUBELET, PODS, RUNTIME, STARTED};

/// Where a full disk shows itself.
const FULL: &[Speaker] = &[Runtime, Kubelet, Event, Cri, Cli, System, Unknown];
const NEVER_PULL: &str =
    r#"Container image "(?<image>[^"]+)" is not present with pull policy of Never"#;

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "image-volume-empty-host-path",
        title: "an image volume became a mount of an empty host path",
        cause: "a container was to mount an image, and the runtime[ (containerd {running})] took \
                the mount for a folder without a name: either the client (crictl or another user \
                of cri-api before 0.31) does not send Mount.image, or the server (containerd \
                before 2.1, CRI-O before 1.31) does not know it",
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
               image that this kind's release notes name, by digest<<program: , or load with \
               `kubenest load --cluster NAME IMAGE`>><<library: , or load with \
               `cluster.images().load`>>",
        links: &[
            "https://github.com/kubernetes-sigs/kind/issues/3853",
            "https://github.com/spiffe/spire/issues/5812",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                r"(?:^|: )(?:ERROR: )?failed to detect containerd snapshotter",
                r#"(?: \(config version (?<config>[0-9]+)\))?"?$"#
            ),
        )],
    },
    Cause {
        id: "kind-config-version-unknown",
        title: "kind load does not know the node's containerd configuration",
        cause: "the containerd in the node writes its configuration in version {config}, and this \
                kind reads {reads}",
        cure: "use kind 0.32.0 or newer for nodes with containerd 2.3 (version 4), or the node \
               image that this kind's release notes name, by digest",
        links: &["https://github.com/kubernetes-sigs/kind/releases/tag/v0.32.0"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                r"(?:^|: )(?:ERROR: )?unknown containerd config version: (?<config>[0-9]+) ",
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
               to [plugins.\"io.containerd.transfer.v1.local\"]; `kind load` needs nodes with the \
               default snapshotter and containerd 2.0.2 or newer",
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
               image-archive image.tar`<<program: ; or `kubenest load --cluster NAME IMAGE`>>\
               <<library: ; or `cluster.images().load`>>, which takes the platform that is there",
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
        id: "image-layers-out-of-order",
        title: "the layers of the image archive are not those of its configuration",
        cause: "a layer ({digest}) did not unpack to what the image's configuration has at its \
                place: `docker save` of Docker 25.0.0 writes the layers of images with several of \
                them out of order (its manifest.json alone has them right); otherwise the archive \
                was damaged or changed",
        cure: "ask `docker version`: with 25.0.0 upgrade the engine to 25.0.1 or newer and load \
               the image again, saving it anew with 25.0.0 gives the same archive; with any other \
               engine pull or build the image again",
        links: &[
            "https://github.com/kubernetes-sigs/kind/issues/3490",
            "https://github.com/moby/moby/issues/47150",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                r#"\bctr: (?:.*: )?wrong diff id (?:"sha256:[0-9a-f]{64}" )?calculated on "#,
                r#"extraction "(?<digest>sha256:[0-9a-f]{64})""#
            ),
        )],
    },
    Cause {
        id: "image-collected",
        title: "the kubelet's garbage collection removed a loaded image",
        cause: "the kubelet removed unused images to free disk[ ({resource})], and {image} is now \
                wanted and gone: it was loaded into the node, and no registry gives it back",
        cure: "pin loaded images (<<program: `kubenest load` does>><<library: \
               `cluster.images().load` does, `protect` pins others>>; by hand: `ctr -n k8s.io \
               images label IMAGE \
               io.cri-containerd.pinned=pinned`, containerd 1.6.25, 1.7.10 or newer; CRI-O has \
               `pinned_images`), and set \
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
                // CRI-O's IDs have no algorithm.
                r#"^"Removing image to free bytes" imageID="(?:sha256:)?[0-9a-f]+""#,
            ),
            Sign::new(After, PODS, NEVER_PULL),
            Sign::new(
                After,
                PODS,
                r#"failed to pull and unpack image "(?<image>[^"]+)""#,
            )
            .requires_removal(),
            Sign::new(
                Detail,
                RUNTIME,
                r#"^ImageDelete event (?:name:"|&ImageDelete\{Name:)(?<removed>[^",]+)"#,
            ),
            Sign::new(
                Detail,
                KUBELET,
                concat!(
                    r#"^"(?:Eviction manager: attempting to reclaim" "#,
                    r#"resourceName="(?<resource>[^"]+)""#,
                    r"|Disk usage on image filesystem is over the high threshold)"
                ),
            ),
        ],
    },
    // The kubelet says so too when it has deleted all images that it could: of these, a wanted one tells
    // more.
    Cause {
        id: "host-disk-full",
        title: "the disk is full",
        cause: "the disk on which the node keeps its images and pods is full[: {wanted} bytes \
                were to be freed, of {freed} that could be][ ({file})]; a node in a container \
                sees the host's disk, so its own garbage collection finds next to nothing to \
                delete, evicts pods and pulls their images again",
        cure: "free the host's disk: df -h and df -i (inodes) of the engine's data, docker system \
               prune --all --volumes, remove archives and old nodes; or give it a larger one. \
               Thresholds inside the node do not help",
        links: &[
            "https://github.com/linkerd/linkerd2/pull/6185",
            "https://kubernetes.io/docs/concepts/architecture/garbage-collection/#containers-images",
            "https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                PODS,
                concat!(
                    r#"^(?:"?Image garbage collection failed [^`]*)?[Ff]ailed to garbage collect "#,
                    r"required amount of images\. (?:Attempted|Wanted) to ",
                    r"free (?<wanted>[0-9]+) bytes, but (?:only found|freed) (?<freed>[0-9]+) bytes"
                ),
            ),
            Sign::new(
                Proof,
                FULL,
                concat!(
                    r"\b(?:write|mkdir|open|symlink|link|copy_file_range) ",
                    r"(?<file>/[^ ]*/(?:io\.containerd\.|tmpmounts/containerd-mount)[^ ]+): ",
                    r"no space left on device"
                ),
            ),
        ],
    },
    Cause {
        id: "image-not-in-node",
        title: "a pod may not pull its image, and the node does not have it",
        cause: "{image} is not in the node, and the pod's imagePullPolicy is Never: it was never \
                loaded there under this name, or was removed since",
        cure: "load it into every node that can run the pod<<program:  (`kubenest load` does)>>\
               <<library:  (`cluster.images().load` does)>>, under the very name the pod asks \
               for; if it was loaded, look for `Removing image to free bytes` in the kubelet's \
               journal",
        links: &["https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy"],
        follows: Some("image-collected"),
        signs: &[Sign::new(Proof, PODS, NEVER_PULL)],
    },
];
