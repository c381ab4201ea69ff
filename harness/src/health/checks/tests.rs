//! Every check both ways: it fires on the sick fact and stays silent on the good one.

use std::collections::BTreeMap;

use super::*;
use crate::{
    health::{
        facts::{
            Cgroup, Clock, ContainerdConfig, Daemon, Disk, Inotify, Kubelet, Runtime,
            RuntimeOptions, Shim,
        },
        loader::Import,
        report::Report,
    },
    node::{
        containerd::{InitError, Plugin},
        cri::{CgroupDriver, Condition, Version},
    },
};

/// A good node: containerd 2.0.2 on cgroup v2.
fn good() -> Facts {
    let plugin = |kind: &str, id: &str| Plugin {
        kind: kind.to_owned(),
        id: id.to_owned(),
        platforms: Vec::new(),
        init_error: None,
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
        kubelet: Ok(Kubelet {
            image_gc_high: Some(100),
            image_max_age: "0s".to_owned(),
            eviction_hard: evict("nodefs.available", "0%"),
            cgroup_driver: "systemd".to_owned(),
            ..Kubelet::default()
        }),
        dump: Ok(3),
        import: Ok(imported("overlayfs", Ok(()))),
    }
}

fn imported(snapshotter: &str, ended: Result<(), String>) -> Import {
    Import {
        snapshotter: snapshotter.to_owned(),
        ended,
    }
}

fn shim(version: &str) -> Shim {
    Shim {
        runtime: "runc".to_owned(),
        path: Some("/bin/shim".to_owned()),
        version: version.to_owned(),
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
    cp-1  shim         passed   shim v2.0.2 at /bin/shim under daemon v2.0.2
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
fn cri_needs_an_answer_and_both_conditions() {
    fires("cri", |facts| {
        let network = &mut facts.conditions.as_mut().unwrap()[1];
        network.holds = false;
        network.message = "cni plugin not initialized".to_owned();
    });
    fires("cri", |facts| {
        facts.conditions.as_mut().unwrap().truncate(1)
    });
    fires("cri", |facts| {
        facts.conditions = Err("no answer".to_owned())
    });
    silent(|facts| {
        let kind = "ContainerdHasNoDeprecationWarnings".to_owned();
        let warning = Condition {
            kind,
            ..Condition::default()
        };
        facts.conditions.as_mut().unwrap().push(warning);
    });
}

#[test]
fn snapshotter_is_the_one_in_effect() {
    let native = "/var/lib/containerd/io.containerd.snapshotter.v1.native".to_owned();
    fires("snapshotter", |facts| {
        facts.image_folders = Ok(vec![native.clone()])
    });
    let mut facts = good();
    facts.image_folders = Ok(vec!["/var/lib/images".to_owned()]);
    let finding = judge("snapshotter", &facts, &Expected::default());
    assert_eq!(finding.verdict, Verdict::Unknown);
    facts.image_folders = Ok(vec![native]);
    let expected = Expected {
        snapshotter: Some("native".to_owned()),
        ..Expected::default()
    };
    assert_eq!(
        judge("snapshotter", &facts, &expected).verdict,
        Verdict::Passed
    );
    assert!(matches!(
        judge("overlay", &facts, &expected).verdict,
        Verdict::Skipped(_)
    ));
}

#[test]
fn plugins_must_be_there_and_loaded() {
    fires("plugins", |facts| {
        let message = "no overlay in this kernel".to_owned();
        let init_error = Some(InitError { code: 2, message });
        facts.plugins.as_mut().unwrap()[0].init_error = init_error;
    });
    fires("plugins", |facts| {
        facts.plugins.as_mut().unwrap().truncate(3)
    });
    // Before 2.0 there is one CRI plugin; nobody needs the rest, loaded or not.
    silent(|facts| {
        facts.version.as_mut().unwrap().runtime_version = "1.7.24".to_owned();
        facts.shims = Ok(vec![shim("1.7.24")]);
        facts.plugins.as_mut().unwrap().truncate(2);
    });
    silent(|facts| {
        let init_error = Some(InitError::default());
        let (kind, id) = ("io.containerd.snapshotter.v1".to_owned(), "zfs".to_owned());
        facts.plugins.as_mut().unwrap().push(Plugin {
            kind,
            id,
            platforms: Vec::new(),
            init_error,
        });
    });
}

#[test]
fn daemon_must_be_the_installed_one() {
    let finding = fires("daemon", |facts| {
        facts.daemon.as_mut().unwrap().exe.push_str(" (deleted)");
    });
    insta::assert_snapshot!(
        finding.observed,
        @"v2.0.2 runs, but /usr/local/bin/containerd was replaced since"
    );
}

#[test]
fn shim_may_be_older_than_the_daemon_and_never_newer() {
    let versions = ["1.6.20", "1.7.24", "2.0.2", "2.2.1", "2.3.1"];
    let generation = [0, 0, 1, 1, 2];
    for (daemon, at) in versions.iter().zip(generation) {
        for (version, of_shim) in versions.iter().zip(generation) {
            let mut facts = good();
            facts.version.as_mut().unwrap().runtime_version = (*daemon).to_owned();
            facts.shims = Ok(vec![shim(version)]);
            let verdict = judge("shim", &facts, &Expected::default()).verdict;
            assert_eq!(
                verdict == Verdict::Passed,
                of_shim <= at,
                "{version} under {daemon}"
            );
        }
    }
    let finding = fires("shim", |facts| {
        facts.shims = Ok(vec![shim("2.0.2"), shim("v2.3.0")])
    });
    insta::assert_snapshot!(finding.observed.replace(" under", "\nunder"), @r"
    shim v2.3.0 at /bin/shim (generation 2.3 and newer)
    under daemon v2.0.2 (generation 2.0 to 2.2): no pod can start
    ");
    fires("shim", |facts| facts.shims.as_mut().unwrap()[0].path = None);
    let mut facts = good();
    facts.shims = Ok(vec![shim("")]);
    assert_eq!(
        judge("shim", &facts, &Expected::default()).verdict,
        Verdict::Unknown
    );
    facts.shims = Ok(Vec::new());
    assert!(matches!(
        judge("shim", &facts, &Expected::default()).verdict,
        Verdict::Skipped(_)
    ));
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
    fires("kubelet", |facts| {
        facts.kubelet.as_mut().unwrap().image_gc_high = Some(85)
    });
    fires("kubelet", |facts| {
        facts.kubelet.as_mut().unwrap().image_max_age = "24h0m0s".to_owned()
    });
    fires("kubelet", |facts| {
        facts.kubelet.as_mut().unwrap().eviction_hard = evict("imagefs.available", "15%");
    });
    fires("kubelet", |facts| {
        facts.kubelet.as_mut().unwrap().eviction_soft = evict("nodefs.inodesFree", "5%");
    });
    fires("kubelet", |facts| {
        facts
            .kubelet
            .as_mut()
            .unwrap()
            .merge_default_eviction_settings = true;
    });
    silent(|facts| {
        facts.kubelet.as_mut().unwrap().eviction_hard = evict("memory.available", "100Mi");
    });
    silent(|facts| {
        facts.kubelet.as_mut().unwrap().eviction_hard = evict("imagefs.available", "100%");
    });

    let mut expected = Expected::default();
    expected.kubelet.disk_eviction = evict("imagefs.available", "90%");
    assert_eq!(
        judge("kubelet", &good(), &expected).verdict,
        Verdict::Failed
    );
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

/// What the loader's check says when this kind release loads.
fn loading(kind: &str, facts: &Facts) -> Finding {
    let expected = Expected {
        loader: Some(kind.parse().expect("must be a version")),
        ..Expected::default()
    };
    LOADER.judge("cp-1", facts, &expected)
}

#[test]
fn loader_reads_the_nodes_own_dump() {
    let good = good();
    assert_eq!(loading("0.27.0", &good).verdict, Verdict::Passed);
    insta::assert_snapshot!(
        loading("0.33.0", &good).observed,
        @"kind 0.33.0 reads configuration version 3; an image imported with its options into overlayfs is there"
    );
    let old = loading("0.26.0", &good);
    assert_eq!(old.verdict, Verdict::Failed);
    assert!(
        old.observed
            .contains("failed to detect containerd snapshotter")
    );
    assert!(old.cure.is_some_and(|cure| cure.contains("kind >= 0.27.0")));
    // Not the version that the daemon's lets expect, but the one that is there.
    let mut newer = good.clone();
    newer.dump = Ok(4);
    assert_eq!(loading("0.27.0", &newer).verdict, Verdict::Failed);
    assert_eq!(loading("0.33.0", &newer).verdict, Verdict::Passed);
    newer.dump = Err("no such program".to_owned());
    assert_eq!(loading("0.33.0", &newer).verdict, Verdict::Unknown);
}

#[test]
fn loader_must_be_able_to_import() {
    let mut facts = good();
    let words = "ctr: content digest sha256:ab: not found";
    facts.import.as_mut().unwrap().ended = Err(words.to_owned());
    let finding = loading("0.27.0", &facts);
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(
        finding.observed.ends_with(&format!("`{words}`")),
        "{finding:?}"
    );
    facts.import = Err("no answer".to_owned());
    assert_eq!(loading("0.27.0", &facts).verdict, Verdict::Unknown);
}

#[test]
fn loader_of_an_unknown_release_is_what_the_import_shows() {
    let mut facts = good();
    let finding = loading("0.99.0", &facts);
    assert_eq!(finding.verdict, Verdict::Passed);
    assert!(
        finding.observed.contains("kind 0.99.0 is not in the table"),
        "{finding:?}"
    );

    let folder = "/var/lib/containerd/io.containerd.snapshotter.v1.native".to_owned();
    facts.image_folders = Ok(vec![folder]);
    let words = "ctr: no unpack platforms defined".to_owned();
    facts.import = Ok(imported("native", Err(words)));
    let finding = loading("0.99.0", &facts);
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(
        finding.observed.contains("no unpack platforms defined"),
        "{finding:?}"
    );
    let cure = finding.cure.unwrap_or_default();
    assert!(cure.starts_with("use the snapshotter overlayfs"), "{cure}");
}

#[test]
fn loader_is_not_asked_where_nothing_is_loaded() {
    let finding = LOADER.judge("cp-1", &good(), &Expected::default());
    assert!(
        matches!(finding.verdict, Verdict::Skipped(_)),
        "{finding:?}"
    );
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
