//! Causes in the kubelet: its configuration, its flags, its cgroups.

use super::super::{
    Source::{Cli, Kubelet, Unknown},
    rule::{Cause, Role::Proof, Sign},
};
use super::KUBELET;

pub(super) const CAUSES: &[Cause] = &[
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
];
