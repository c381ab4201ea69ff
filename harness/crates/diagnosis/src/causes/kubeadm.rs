//! Causes that kubeadm names: versions of its configuration and of what it deploys.

use super::super::rule::{Cause, Role::Proof, Sign};
use super::COMMAND;

/// kubeadm's message when it refuses a version of its API.
macro_rules! old_api {
    ($version:literal) => {
        concat!(
            r#"your configuration file uses an old API spec: "kubeadm\.k8s\.io/(?<api>"#,
            $version,
            r#")"(?: \(kind: "(?<kind>[A-Za-z]+)"\))?\. Please use kubeadm v(?<last>1\.[0-9]+) "#,
            r"instead"
        )
    };
}

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "kubeadm-api-version-dropped",
        title: "kubeadm no longer reads this version of its configuration",
        cause: "the configuration is written as kubeadm.k8s.io/{api}, and this kubeadm no longer \
                reads it[: Kubernetes {dropped} dropped it][; kind {kind_old} and older write it \
                for every node]",
        cure: "with kind, use 0.32.0 or newer, which writes v1beta4 where v1beta3 is gone (from \
               Kubernetes 1.36 on), and move kubeadmConfigPatches to v1beta4 (extraArgs are lists \
               of name and value there); files of your own: `kubeadm config migrate --old-config \
               OLD --new-config NEW` with kubeadm {last}, the last that reads {api}",
        links: &[
            "https://github.com/kubernetes/kubernetes/pull/136016",
            "https://github.com/etcd-io/etcd/pull/21888",
            "https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/",
        ],
        follows: None,
        signs: &[
            Sign::new(Proof, COMMAND, old_api!("v1beta3"))
                .with_facts(&[("dropped", "1.37"), ("kind_old", "0.31")]),
            Sign::new(Proof, COMMAND, old_api!("v1beta2")).with_facts(&[("dropped", "1.27")]),
            Sign::new(Proof, COMMAND, old_api!("v1(?:alpha[0-9]|beta1)")),
        ],
    },
    Cause {
        id: "kubeadm-api-version-unknown",
        title: "kubeadm does not know this version of its configuration",
        cause: "the configuration has a {kind} of kubeadm.k8s.io/{api}, which this kubeadm does \
                not know: it is older than what wrote the file (v1beta3 needs Kubernetes 1.22, \
                v1beta4 needs 1.31), or, from kubeadm-config in the cluster, newer than the \
                cluster",
        cure: "write the file for the node's kubeadm: v1beta2 before 1.22, v1beta3 from 1.22, \
               v1beta4 from 1.31 on; to join, use a kubeadm of the cluster's own minor",
        links: &[
            "https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/",
            "https://github.com/kubermatic/kubermatic/issues/8039",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    r"\bunknown configuration APIs: ",
                    r#"\[\]schema\.GroupVersionKind\{.*Group:"kubeadm\.k8s\.io", "#,
                    r#"Version:"(?<api>v[0-9a-z]+)", Kind:"(?<kind>[A-Za-z]+)"\}"#
                ),
            ),
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    r#"\bno kind "(?<kind>(?:Init|Join|Cluster|Reset|Upgrade)Configuration)" is "#,
                    r"registered for version ",
                    r#""kubeadm\.k8s\.io/(?<api>v[0-9a-z]+)" in scheme "#,
                    r#""k8s\.io/kubernetes/cmd/kubeadm/"#
                ),
            ),
        ],
    },
    Cause {
        id: "kubeadm-extra-args-mapping",
        title: "extra arguments are not in the form of the configuration's version",
        cause: "kubeadm cannot read {field}: it is written as a {given}, and this version of the \
                configuration wants a {wanted}; v1beta4 (Kubernetes 1.31 and newer) made lists of \
                name and value of what was a mapping up to v1beta3",
        cure: "for v1beta4 write an entry with `name: v` and `value: \"4\"` in place of `v: \
               \"4\"` in extraArgs and kubeletExtraArgs, for v1beta3 the other way round; or \
               leave apiVersion out of the patch and use kind 0.32.0 or newer, which translates \
               mappings and appends to what is there",
        links: &[
            "https://github.com/kubernetes/kubernetes/pull/119156",
            "https://github.com/kubernetes-sigs/kind/pull/4173",
            "https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    r"(?:^|: )json: cannot unmarshal object into Go struct field ",
                    r"(?<field>[A-Za-z.]+[eE]xtraArgs) ",
                    r"of type \[\]v1beta[0-9]+\.Arg\b"
                ),
            )
            .with_facts(&[("given", "mapping"), ("wanted", "list of name and value")]),
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    r"(?:^|: )json: cannot unmarshal array into Go struct field ",
                    r"(?<field>[A-Za-z.]+[eE]xtraArgs) ",
                    r"of type map\[string\]string"
                ),
            )
            .with_facts(&[("given", "list"), ("wanted", "mapping")]),
        ],
    },
    Cause {
        id: "kubeadm-version-skew",
        title: "kubeadm, kubelet and control plane are too far apart",
        cause: "kubeadm refuses these versions together[: kubelet {kubelet}, control plane \
                {control}][: control plane {control}, and this kubeadm deploys {least} and \
                newer]; a kubelet may not be newer than the control plane, and a kubeadm deploys \
                its own minor and the one before it",
        cure: "install kubeadm and kubelet of the control plane's minor (pin the packages: \
               apt-mark hold), or name the version: kubernetesVersion in the ClusterConfiguration \
               or --kubernetes-version. Without it kubeadm takes the newest that it knows",
        links: &[
            "https://kubernetes.io/releases/version-skew-policy/",
            "https://github.com/kairen/kubeadm-ansible/issues/61",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    r"(?:^ *|\\n(?:\\t)?)\[ERROR KubeletVersion\]: the kubelet version is ",
                    r"higher than the control plane ",
                    r#"version\..* Kubelet version: "(?<kubelet>[0-9][^"]*)" Control plane "#,
                    r"version: ",
                    r#""(?<control>[0-9][^"]*)""#
                ),
            ),
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    r"(?:^|: )this version of kubeadm only supports deploying clusters with ",
                    r"the control plane ",
                    r"version >= (?<least>[0-9.]+)\. Current version: v?(?<control>[0-9][^ ]*)"
                ),
            ),
        ],
    },
];
