//! Tests of the checks of a layer, over recorded facts.

use super::*;
use kubenest_base::ErrorKind;

/// What a pod on a machine with cgroup v1 said.
const V1: &str = "\
cgroup-version=1
cgroup-path=/
cgroup-writable=yes
controllers=blkio cpu cpuacct cpuset devices freezer memory pids systemd
processes=0
data-root=ext2/ext3
data-root-free=34359738368
kmsg=yes
shared=shared
mtu=1500
routes=10.244.0.0/24 10.244.0.1
nameservers=10.209.1.1
variables=
token=no
";

/// As a pod on Debian 13, which has cgroup v2, would say it.
const V2: &str = "\
cgroup-version=2
cgroup-path=/init
controllers=cpuset cpu io memory hugetlb pids rdma misc
data-root=xfs
";

fn facts(changes: &str) -> LayerFacts {
    let ranges = ["10.245.0.0/16", "10.97.0.0/16", "10.225.0.0/16"];
    LayerFacts::read(&format!("{V1}{changes}"), ranges.map(str::to_owned))
}

#[test]
fn a_layer_that_is_as_it_should_be_passes() {
    let report = facts("").judge("outer/pod");
    assert!(report.require(&[]).is_ok(), "{report}");
    insta::assert_snapshot!(report, @r"
    NODE       CHECK              VERDICT  OBSERVED
    outer/pod  cgroup-namespace   passed   one of the pod's own
    outer/pod  cgroup-delegation  passed   v1, blkio cpu cpuacct cpuset devices freezer memory pids systemd
    outer/pod  data-root          passed   ext2/ext3
    outer/pod  kmsg               passed   readable
    outer/pod  mount-propagation  passed   shared
    outer/pod  mtu                passed   1500, and so in the engine's networks
    outer/pod  subnets            passed   10.245.0.0/16, 10.97.0.0/16, 10.225.0.0/16
    outer/pod  dns                passed   10.209.1.1
    outer/pod  outer-cluster      passed   no token, no variables
    ");
    let report = facts(V2).judge("outer/pod");
    assert!(report.require(&[]).is_ok(), "{report}");
}

/// What makes each check fail.
const BROKEN: [(&str, &str); 13] = [
    (
        "cgroup-namespace",
        "cgroup-path=/kubelet.slice/kubelet-kubepods.slice/x.scope",
    ),
    ("cgroup-delegation", "cgroup-writable=no"),
    ("cgroup-delegation", "controllers=cpu pids"),
    ("cgroup-delegation", "cgroup-version=2\nprocesses=3"),
    ("data-root", "data-root=overlayfs"),
    ("data-root", "data-root=tmpfs"),
    ("kmsg", "kmsg=no"),
    ("mount-propagation", "shared=private"),
    ("mtu", "mtu=296"),
    ("subnets", "routes=10.97.3.0/24"),
    ("dns", "nameservers=127.0.0.11"),
    ("outer-cluster", "variables=KUBERNETES_SERVICE_HOST"),
    ("outer-cluster", "token=yes"),
];

#[test]
fn each_check_fires_alone_and_names_layer_and_cure() {
    for (check, change) in BROKEN {
        let report = facts(change).judge("outer/pod");
        let failed = report.findings.iter().filter(|it| it.cure.is_some());
        let failed: Vec<_> = failed.map(|it| it.name.as_str()).collect();
        assert_eq!(failed, [check], "{change}");
        let error = report.require(&[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("on outer/pod"), "{error}");
    }
}

#[test]
fn every_check_has_been_seen_to_fail() {
    for (name, _) in CHECKS {
        assert!(BROKEN.iter().any(|(broken, _)| *broken == name), "{name}");
    }
}

#[test]
fn what_a_pod_does_not_tell_proves_nothing() {
    let report = LayerFacts::read("", []).judge("outer/pod");
    assert!(
        report.findings.iter().all(|it| it.cure.is_some()),
        "{report}"
    );
}

#[test]
fn networks_meet_where_one_is_in_the_other() {
    assert!(meet("10.96.0.0/12", "10.97.1.0/24") && meet("10.97.1.7", "10.97.0.0/16"));
    assert!(!meet("10.96.0.0/16", "10.97.0.0/16") && !meet("fe80::/64", "10.97.0.0/16"));
}
