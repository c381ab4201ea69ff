//! Checks of the kernel: control groups, capabilities, the kernel log and modules.

use super::facts::Facts;
use crate::health::Outcome;

/// Capabilities that an engine with privileged containers needs, by bit.
const CAPABILITIES: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (18, "CAP_SYS_CHROOT"),
    (21, "CAP_SYS_ADMIN"),
    (27, "CAP_MKNOD"),
];
const CAP_SYS_RESOURCE: u32 = 24;
/// The first Kubernetes, 1.35, whose kubelet refuses control groups of version 1.
const REFUSES_V1: u64 = 35;

pub(super) fn cgroup(facts: &Facts) -> Outcome {
    let groups = &facts.machine.cgroups;
    let version = if groups.unified { "v2" } else { "v1" };
    let missing: Vec<_> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|name| !groups.controllers.iter().any(|known| known == name))
        .collect();
    if !missing.is_empty() {
        let cure = "mount cgroups at /sys/fs/cgroup with cpu, memory and pids (boot parameters, \
                    or the privileges of the container this runs in)";
        return Outcome::failed(format!("{version} without {}", missing.join(", ")), cure);
    }
    let engine = facts.engine.as_ref().ok();
    let on_v1 = match engine.map(|engine| engine.cgroup_version.as_str()) {
        Some("1") => true,
        Some("2") => false,
        _ => !groups.unified,
    };
    if !on_v1 {
        return Outcome::passed("v2");
    }
    let kubernetes = facts.machine.default_kubernetes.as_ref();
    match kubernetes.filter(|version| version.minor >= REFUSES_V1) {
        Some(version) => Outcome::failed(
            format!("v1, and the kubelet of the default node, {version}, refuses that"),
            "boot the machine with cgroup v2 (systemd.unified_cgroup_hierarchy=1; WSL2: \
             kernelCommandLine = cgroup_no_v1=all), set `failCgroupV1: false` by a kubeadm patch \
             of KubeletConfiguration, or take a node of 1.34 or older (KUBENEST_NODE)",
        ),
        None => Outcome::passed(
            "v1; kubelets of Kubernetes 1.35 and newer refuse it unless told `failCgroupV1: false`",
        ),
    }
}

/// Capabilities matter only for the embedded engine: a found engine has its own, whatever this
/// process may do.
pub(super) fn capabilities(facts: &Facts) -> Outcome {
    let mut lines = facts.machine.status.lines();
    let set = lines.find_map(|line| line.strip_prefix("CapBnd:"));
    let Some(set) = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()) else {
        return Outcome::failed("no CapBnd in /proc/self/status", "mount /proc");
    };
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| set & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        let observed = format!("bounding set without {}", missing.join(", "));
        if facts.engine.is_ok() {
            return Outcome::skipped(observed, "the engine has its own");
        }
        let cure = "run privileged: the embedded engine starts privileged containers";
        return Outcome::failed(observed, cure);
    }
    Outcome::passed(match set & (1 << CAP_SYS_RESOURCE) {
        0 => "no CAP_SYS_RESOURCE: Docker must be 26 or newer; nodes set restrict_oom_score_adj",
        _ => "bounding set has all that nodes need",
    })
}

pub(super) fn kmsg(facts: &Facts) -> Outcome {
    let observed = if facts.machine.kmsg {
        "there"
    } else {
        "no device /dev/kmsg: the kubelet reads it"
    };
    Outcome::when(
        facts.machine.kmsg,
        observed,
        "mknod /dev/kmsg c 1 11, or give the container the device",
    )
}

/// Whether the modules are loaded, built in, or can be loaded.
pub(super) fn modules(facts: &Facts) -> Outcome {
    match (facts.machine.overlay, facts.machine.br_netfilter) {
        (true, true) => Outcome::passed("overlay and br_netfilter are available"),
        (false, _) => Outcome::failed("no overlay file system", "modprobe overlay"),
        (true, false) => Outcome::failed("no br_netfilter", "modprobe br_netfilter"),
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use std::fs;

    use super::{
        super::facts::{Cgroups, tests::good},
        *,
    };
    use crate::health::Verdict;
    use kubenest_base::Error;

    #[test]
    fn cgroup_modes_need_their_controllers() {
        let root = tempfile::tempdir().unwrap();
        let judge = || {
            let mut facts = good();
            facts.engine = Err(Error::setup("none"));
            facts.machine.cgroups = Cgroups::of(root.path());
            cgroup(&facts)
        };
        insta::assert_snapshot!(judge().observed, @"v1 without cpu, memory, pids");
        for controller in ["cpu", "memory", "pids"] {
            fs::create_dir(root.path().join(controller)).unwrap();
        }
        assert!(judge().observed.starts_with("v1; "));
        let listed = root.path().join("cgroup.controllers");
        fs::write(&listed, "cpuset cpu io memory\n").unwrap();
        insta::assert_snapshot!(judge().observed, @"v2 without pids");
        fs::write(&listed, "cpu memory pids\n").unwrap();
        assert_eq!(judge(), Outcome::passed("v2"));
    }

    #[test]
    fn a_default_node_that_refuses_v1_is_told_before_it_boots() {
        let judge = |engine: &str, kubernetes: Version| {
            let mut facts = good();
            facts.engine.as_mut().ok().unwrap().cgroup_version = engine.to_owned();
            facts.machine.default_kubernetes = Some(kubernetes);
            cgroup(&facts)
        };
        let refused = judge("1", Version::new(1, 35, 0));
        assert_eq!(refused.verdict, Verdict::Failed);
        assert!(refused.cure.unwrap().contains("failCgroupV1: false"));
        let older = judge("1", Version::new(1, 34, 3));
        assert_eq!(older.verdict, Verdict::Passed);
        assert!(older.observed.contains("1.35"), "{older:?}");
        assert_eq!(judge("2", Version::new(1, 35, 0)), Outcome::passed("v2"));
    }

    #[test]
    fn capabilities_count_only_without_an_engine() {
        let judge = |set: &str, with_engine: bool| {
            let mut facts = good();
            if !with_engine {
                facts.engine = Err(Error::setup("none"));
            }
            facts.machine.status = format!("Name:\tx\nCapBnd:\t{set}\n");
            capabilities(&facts)
        };
        assert_eq!(judge("000001ffffffffff", false).verdict, Verdict::Passed);
        // The set of a common virtual machine: all but CAP_SYS_RESOURCE.
        let outcome = judge("000001fffeffffff", false);
        assert_eq!(outcome.verdict, Verdict::Passed);
        assert!(
            outcome.observed.contains("restrict_oom_score_adj"),
            "{outcome:?}"
        );
        // The set of an ordinary container.
        let outcome = judge("00000000a80425fb", false);
        insta::assert_snapshot!(outcome.observed, @"bounding set without CAP_NET_ADMIN, CAP_SYS_ADMIN");
        assert_eq!(outcome.verdict, Verdict::Failed);
        let outcome = judge("00000000a80425fb", true);
        assert!(matches!(outcome.verdict, Verdict::Skipped(_)));
    }

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let mut facts = good();
        facts.machine.br_netfilter = false;
        assert_eq!(modules(&facts).observed, "no br_netfilter");
        facts.machine.overlay = false;
        assert_eq!(modules(&facts).observed, "no overlay file system");
        facts.machine.kmsg = false;
        assert_eq!(kmsg(&facts).verdict, Verdict::Failed);
    }
}
