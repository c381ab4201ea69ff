//! Every check both ways: it fires on the sick fact and stays silent on the good one.

mod asked;
mod runtime;

use std::collections::BTreeMap;

use super::*;
use crate::health::{
    facts::{Cgroup, Clock, ContainerdConfig, Daemon, Disk, Inotify, Runtime, RuntimeOptions},
    kubelet::{Flags, Kubelet},
    loader::{Dump, Import},
    report::Report,
    shim::{FoundShim, Generation, Shim, tests::ANSWERS},
};
use kubenest_node::node::{
    containerd::{InitError, Plugin},
    cri::{CgroupDriver, Condition, Version},
};

/// A good node: containerd 2.0.2 on cgroup v2.
fn good() -> Facts {
    let plugin = |kind: &str, id: &str| Plugin {
        kind: kind.to_owned(),
        id: id.to_owned(),
        ..Plugin::default()
    };
    let condition = |kind: &str| Condition {
        kind: kind.to_owned(),
        holds: true,
        ..Condition::default()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    Facts {
        version: Ok(Version {
            runtime_name: "containerd".to_owned(),
            runtime_version: "v2.0.2".to_owned(),
            runtime_api_version: "v1".to_owned(),
        }),
        conditions: Ok(vec![condition("RuntimeReady"), condition("NetworkReady")]),
        image_folders: Ok(words(
            "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs",
        )),
        cri_driver: Ok(Some(CgroupDriver::Systemd)),
        plugins: Ok(vec![
            plugin("io.containerd.snapshotter.v1", "overlayfs"),
            plugin("io.containerd.grpc.v1", "cri"),
            plugin("io.containerd.cri.v1", "images"),
            plugin("io.containerd.cri.v1", "runtime"),
        ]),
        daemon: Ok(Daemon {
            exe: "/usr/local/bin/containerd".to_owned(),
            cwd: "/".to_owned(),
            path: "/usr/local/bin:/usr/bin".to_owned(),
        }),
        config: Ok(ContainerdConfig {
            default_runtime_name: "runc".to_owned(),
            runtimes: BTreeMap::new(),
        }),
        shims: Ok(vec![shim("v2.0.2")]),
        disk: Ok(Disk {
            bytes: 100 << 30,
            bytes_available: 60 << 30,
            inodes: 1000,
            inodes_free: 900,
        }),
        overlay: Ok("usable".to_owned()),
        cgroup: Ok(Cgroup {
            v2: true,
            controllers: words("cpuset cpu io memory pids"),
        }),
        inotify: Ok(Inotify {
            instances: 128,
            instances_used: 20,
            watches: 8192,
            watches_used: 400,
        }),
        clock: Ok(Clock {
            skew: 0.1,
            error: 0.2,
        }),
        kubelet: Ok(kubelet()),
        kubelet_flags: Flags::parse(
            "/usr/local/bin/kubelet\n--config=/var/lib/kubelet/config.yaml",
        ),
        image_volume: Ok(Ok("registry.k8s.io/pause:3.10".to_owned())),
        dump: Ok(dump(3, "overlayfs")),
        import: Ok(imported("overlayfs", Ok(()))),
    }
}

/// Of a kubelet that deletes nothing.
fn kubelet() -> Kubelet {
    Kubelet {
        image_gc_high: Some(100),
        image_max_age: "0s".to_owned(),
        eviction_hard: evict("nodefs.available", "0%"),
        cgroup_driver: "systemd".to_owned(),
        ..Kubelet::default()
    }
}

fn dump(version: u32, snapshotter: &str) -> Dump {
    Dump {
        version,
        snapshotter: Some(snapshotter.to_owned()),
    }
}

fn imported(snapshotter: &str, ended: Result<(), String>) -> Import {
    Import {
        snapshotter: snapshotter.to_owned(),
        ended,
    }
}

/// A shim that answers as those of its version do.
fn shim(version: &str) -> Shim {
    let generation = Generation::of(version).expect("must be a version");
    let answer = ANSWERS.iter().find(|(of, _)| *of == generation);
    let (_, answer) = answer.expect("every generation must have an answer");
    shim_that(version, Ok(answer))
}

fn shim_that(version: &str, answer: Result<&[u8], &str>) -> Shim {
    Shim {
        runtime: "runc".to_owned(),
        found: Some(FoundShim {
            path: "/bin/shim".to_owned(),
            version: version.to_owned(),
            answer: answer.map(<[u8]>::to_vec).map_err(str::to_owned),
        }),
    }
}

fn evict(signal: &str, threshold: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(signal.to_owned(), threshold.to_owned())])
}

fn judge(name: &str, facts: &Facts, expected: &Expected) -> Finding {
    let check = CHECKS
        .iter()
        .find(|check| check.name == name)
        .expect("must be a check");
    check.judge("cp-1", facts, expected)
}

/// Changes the good node and expects one check, and no other, to fail.
fn fires(name: &str, change: impl FnOnce(&mut Facts)) -> Finding {
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
fn silent(change: impl FnOnce(&mut Facts)) {
    let mut facts = good();
    change(&mut facts);
    let report = report(&facts);
    assert!(
        report.findings.iter().all(|f| f.verdict == Verdict::Passed),
        "{report}"
    );
}

fn report(facts: &Facts) -> Report {
    let expected = Expected::default();
    let findings = CHECKS
        .iter()
        .map(|check| check.judge("cp-1", facts, &expected));
    Report {
        findings: findings.collect(),
    }
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
fn overlay_must_mount() {
    fires("overlay", |facts| {
        facts.overlay = Ok("mount: wrong fs type".to_owned())
    });
}

#[test]
fn disk_stays_below_what_the_kubelet_acts_on() {
    let full = |facts: &mut Facts| facts.disk.as_mut().unwrap().bytes_available = 10 << 30;
    // 90 % used is fine for a kubelet that deletes nothing, and only for that one.
    silent(full);
    let mut facts = good();
    full(&mut facts);
    facts.kubelet.as_mut().unwrap().image_gc_high = None;
    assert_eq!(
        judge("disk", &facts, &Expected::default()).verdict,
        Verdict::Failed
    );
    facts.kubelet.as_mut().unwrap().image_gc_high = Some(100);
    facts.kubelet.as_mut().unwrap().eviction_hard = evict("imagefs.available", "15%");
    assert_eq!(
        judge("disk", &facts, &Expected::default()).verdict,
        Verdict::Failed
    );
    facts.kubelet = Err("no answer".to_owned());
    assert_eq!(
        judge("disk", &facts, &Expected::default()).verdict,
        Verdict::Failed
    );
    fires("disk", |facts| {
        facts.disk.as_mut().unwrap().bytes_available = 1 << 29
    });
}

#[test]
fn inodes_run_out_apart_from_bytes() {
    fires("inodes", |facts| {
        facts.disk.as_mut().unwrap().inodes_free = 10
    });
    let mut facts = good();
    (
        facts.disk.as_mut().unwrap().inodes,
        facts.disk.as_mut().unwrap().inodes_free,
    ) = (0, 0);
    assert!(matches!(
        judge("inodes", &facts, &Expected::default()).verdict,
        Verdict::Skipped(_)
    ));
}

#[test]
fn kubelet_deletes_only_what_the_spec_asked() {
    let fires = |change: fn(&mut Kubelet)| {
        fires("kubelet", |facts| change(facts.kubelet.as_mut().unwrap())).observed
    };
    let file = "(/var/lib/kubelet/config.yaml)";
    assert_eq!(
        fires(|kubelet| kubelet.image_gc_high = Some(85)),
        format!("imageGCHighThresholdPercent 85 {file}, asked 100")
    );
    assert_eq!(
        fires(|kubelet| kubelet.image_gc_low = Some(100)),
        format!("imageGCLowThresholdPercent 100 {file}, asked less than 100")
    );
    assert_eq!(
        fires(|kubelet| kubelet.image_max_age = "24h0m0s".to_owned()),
        format!("imageMaximumGCAge 24h0m0s {file}, asked 0s")
    );
    assert_eq!(
        fires(|kubelet| kubelet.eviction_hard = evict("imagefs.available", "15%")),
        format!("evictionHard imagefs.available<15% {file}, asked 0%")
    );
    assert_eq!(
        fires(|kubelet| kubelet.eviction_soft = evict("nodefs.inodesFree", "5%")),
        format!("evictionSoft nodefs.inodesFree<5% {file}, asked 0%")
    );
    assert_eq!(
        fires(|kubelet| kubelet.merge_default_eviction_settings = true),
        format!(
            "mergeDefaultEvictionSettings true, which brings disk eviction back {file}, asked false"
        )
    );
    for harmless in [("memory.available", "100Mi"), ("imagefs.available", "100%")] {
        silent(|facts| {
            facts.kubelet.as_mut().unwrap().eviction_hard = evict(harmless.0, harmless.1);
        });
    }
    // Before 1.29 there is no such setting.
    silent(|facts| facts.kubelet.as_mut().unwrap().image_max_age.clear());
}

#[test]
fn kubelet_flags_win_over_its_file() {
    let with = |flag: &str| {
        let found = fires("kubelet", |facts| {
            facts.kubelet_flags = Flags::parse(&format!("kubelet\n{flag}"));
        });
        found.observed
    };
    assert_eq!(
        with("--eviction-hard=imagefs.available<10%"),
        "evictionHard imagefs.available<10% \
         (flag --eviction-hard=imagefs.available<10%), asked 0%"
    );
    assert_eq!(
        with("--image-gc-high-threshold=90"),
        "imageGCHighThresholdPercent 90 (flag --image-gc-high-threshold=90), asked 100"
    );
    let mut facts = good();
    facts.kubelet_flags = Err("no such process".to_owned());
    let finding = judge("kubelet", &facts, &Expected::default());
    assert_eq!(finding.verdict, Verdict::Unknown);
}

#[test]
fn only_what_the_file_decides_can_be_put_back() {
    let drifted = |flags: &str| {
        let mut facts = good();
        let kubelet = facts.kubelet.as_mut().unwrap();
        kubelet.image_gc_high = Some(85);
        kubelet.eviction_hard = evict("imagefs.available", "15%");
        facts.kubelet_flags = Flags::parse(&format!("kubelet\n{flags}"));
        facts
    };
    let drift = |flags: &str| drift(&drifted(flags), &Expected::default());
    let file = "--config=/var/lib/kubelet/config.yaml";
    assert_eq!(drift(file).len(), 2);
    let both = drift(&format!("{file}\n--eviction-hard=imagefs.available<15%"));
    assert_eq!(both.len(), 1, "{both:?}");
    assert!(
        both[0].starts_with("imageGCHighThresholdPercent 85"),
        "{both:?}"
    );
    assert!(drift("--config=/etc/own.yaml").is_empty());
    assert!(drift("").is_empty());
    let asked = super::drift(&good(), &Expected::default());
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn kubelet_deletes_no_less_than_the_spec_asked() {
    let mut expected = Expected::default();
    expected.kubelet.eviction_hard = evict("imagefs.available", "90%");
    let finding = judge("kubelet", &good(), &expected);
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(finding.observed.contains("asked 90%"), "{finding:?}");
    let mut facts = good();
    facts.kubelet.as_mut().unwrap().eviction_hard = evict("imagefs.available", "90%");
    assert_eq!(judge("kubelet", &facts, &expected).verdict, Verdict::Passed);
}

#[test]
fn cgroup_drivers_agree_and_controllers_are_there() {
    fires("cgroup", |facts| {
        facts.cri_driver = Ok(Some(CgroupDriver::Cgroupfs))
    });
    fires("cgroup", |facts| {
        facts.cgroup.as_mut().unwrap().controllers.truncate(3)
    });
    let v1 = "blkio cpu cpuacct cpuset devices freezer memory pids systemd";
    let v1 = Cgroup {
        v2: false,
        controllers: v1.split(' ').map(str::to_owned).collect(),
    };
    silent(|facts| facts.cgroup = Ok(v1.clone()));

    // Before 2.0 the configuration of the default runtime says which driver it is.
    let systemd = Runtime {
        options: Some(RuntimeOptions {
            systemd_cgroup: true,
        }),
        ..Runtime::default()
    };
    let runtimes = BTreeMap::from([("runc".to_owned(), systemd)]);
    silent(|facts| {
        facts.cri_driver = Ok(None);
        facts.config.as_mut().unwrap().runtimes = runtimes;
    });
    fires("cgroup", |facts| facts.cri_driver = Ok(None));
}

#[test]
fn inotify_leaves_room() {
    fires("inotify", |facts| {
        facts.inotify.as_mut().unwrap().instances_used = 121
    });
    fires("inotify", |facts| {
        facts.inotify.as_mut().unwrap().watches_used = 8000
    });
    silent(|facts| facts.inotify.as_mut().unwrap().instances_used = 120);
}

#[test]
fn clock_is_this_machines_within_the_reading() {
    fires("clock", |facts| {
        facts.clock = Ok(Clock {
            skew: -6.0,
            error: 0.1,
        })
    });
    silent(|facts| {
        facts.clock = Ok(Clock {
            skew: 6.0,
            error: 1.5,
        })
    });
}

#[test]
fn what_was_not_observed_is_unknown_and_refuses() {
    let mut facts = good();
    facts.clock = Err("the probe gave no 'clock'".to_owned());
    let report = report(&facts);
    assert_eq!(report.findings.last().unwrap().verdict, Verdict::Unknown);
    insta::assert_snapshot!(report.require(&[]).unwrap_err().report(), @r"
    health check 'clock' unknown on cp-1: the probe gave no 'clock'
    cure: docker exec cp-1 journalctl --no-pager --lines 50
    ");
}
