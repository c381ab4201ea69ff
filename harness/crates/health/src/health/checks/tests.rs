//! All checks on one node: a good node passes, and one bad fact fails exactly one check.

use super::*;
use crate::health::report::{Report, Verdict};

/// A good node: containerd 2.0.2 on cgroup v2.
pub(super) fn good() -> Facts {
    Facts {
        runtime: Runtime::Containerd,
        cri: cri::tests::good(),
        plugins: Ok(plugins::tests::good()),
        daemon: Ok(daemon::tests::good()),
        crio: Err("no CRI-O".to_owned()),
        shims: Ok(vec![shim::tests::shim("v2.0.2")]),
        overlay: Ok("usable".to_owned()),
        disk: Ok(disk::tests::good()),
        kubelet: Ok(kubelet::tests::good()),
        kubelet_flags: Ok(kubelet::tests::good_flags()),
        cgroup: Ok(cgroup::tests::good()),
        inotify: Ok(inotify::tests::good()),
        clock: Ok(clock::tests::good()),
        image_volume: Ok(Ok("registry.k8s.io/pause:3.10".to_owned())),
        dump: Ok(loader::tests::dump(3, "overlayfs")),
        import: Ok(loader::tests::imported("overlayfs", Ok(()))),
    }
}

pub(super) fn judge(name: &str, facts: &Facts, expected: &Expected) -> Finding {
    let check = CHECKS
        .iter()
        .find(|check| check.name.name() == name)
        .expect("must be a check");
    check.judge("cp-1", facts, expected)
}

/// The report for a spec that asks for nothing.
pub(super) fn report(facts: &Facts) -> Report {
    let expected = Expected::default();
    let due = CHECKS.iter().filter(|check| check.is_due(true, &expected));
    Report {
        findings: due
            .map(|check| check.judge("cp-1", facts, &expected))
            .collect(),
    }
}

/// Changes the good node and expects one check, and no other, to fail.
pub(super) fn fires(name: &str, change: impl FnOnce(&mut Facts)) -> Finding {
    let mut facts = good();
    change(&mut facts);
    let report = report(&facts);
    let failed: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.verdict != Verdict::Passed)
        .collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert_eq!(
        (failed[0].name.as_str(), &failed[0].verdict),
        (name, &Verdict::Failed)
    );
    assert!(failed[0].cure.is_some(), "{report}");
    failed[0].clone()
}

/// Changes the good node and expects every check to pass.
pub(super) fn silent(change: impl FnOnce(&mut Facts)) {
    let mut facts = good();
    change(&mut facts);
    let report = report(&facts);
    assert!(
        report.findings.iter().all(|f| f.verdict == Verdict::Passed),
        "{report}"
    );
}

#[test]
fn a_good_node_passes_every_check() {
    insta::assert_snapshot!(report(&good()), @r"
    NODE  CHECK        VERDICT  OBSERVED
    cp-1  cri          passed   containerd v2.0.2 CRI v1, RuntimeReady, NetworkReady
    cp-1  snapshotter  passed   overlayfs (expected overlayfs)
    cp-1  plugins      passed   all 4 needed are loaded
    cp-1  daemon       passed   v2.0.2 from /usr/local/bin/containerd
    cp-1  shim         passed   shim v2.0.2 at /bin/shim answers daemon v2.0.2 in JSON (2.0 to 2.2)
    cp-1  overlay      passed   usable
    cp-1  disk         passed   40% used, 60.0 GiB free, kubelet deletes nothing
    cp-1  inodes       passed   10% used
    cp-1  kubelet      passed   image GC threshold 100%, disk eviction off
    cp-1  cgroup       passed   v2, containerd systemd, kubelet systemd
    cp-1  inotify      passed   instances 20 of 128, watches 400 of 8192
    cp-1  clock        passed   off by 0.1s ± 0.2s
    ");
}

#[test]
fn a_check_that_means_nothing_to_a_runtime_says_so_and_refuses_nothing() {
    let mut facts = good();
    facts.runtime = Runtime::CriO;
    // No fact of containerd can be collected.
    facts.plugins = Err("no containerd".to_owned());
    facts.shims = Err("no containerd".to_owned());
    facts.dump = Err("no containerd".to_owned());
    facts.crio = super::crio::tests::good();
    let expected = Expected {
        loader: Some("0.27.0".parse().expect("must be a version")),
        ..Expected::default()
    };
    let findings = CHECKS.map(|check| check.judge("cp-1", &facts, &expected));
    let report = Report {
        findings: findings.into(),
    };
    assert!(report.require(&[]).is_ok(), "{report}");
    let skipped = report.findings.iter().filter(|finding| {
        let reason = Verdict::Skipped("the runtime is cri-o".to_owned());
        finding.verdict == reason && finding.observed == "does not apply"
    });
    let names: Vec<_> = skipped.map(|finding| finding.name.as_str()).collect();
    assert_eq!(names, ["plugins", "loader"]);
}

#[test]
fn checks_wait_for_kubernetes_and_for_being_asked() {
    let due = |kubernetes, expected: &Expected| -> Vec<&str> {
        let due = CHECKS
            .iter()
            .filter(|check| check.is_due(kubernetes, expected));
        due.map(|check| check.name.name()).collect()
    };
    let early = due(false, &Expected::default());
    assert_eq!(
        early,
        [
            "snapshotter",
            "plugins",
            "daemon",
            "shim",
            "overlay",
            "inodes",
            "inotify",
            "clock"
        ]
    );
    let asked = Expected {
        image_volumes: true,
        ..Expected::default()
    };
    assert_eq!(due(false, &asked).last(), Some(&"image-volume"));
    assert_eq!(due(true, &asked).len(), 13);
}
