//! The checks of containerd, both ways.

use super::*;

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
    insta::assert_snapshot!(finding.observed.replace(", ", ",\n"), @r"
    shim v2.3.0 at /bin/shim answers in protobuf (2.3 and newer),
    daemon v2.0.2 reads JSON (2.0 to 2.2): no pod can start
    ");
    fires("shim", |facts| {
        facts.shims.as_mut().unwrap()[0].found = None
    });
    let mut facts = good();
    facts.shims = Ok(Vec::new());
    assert!(matches!(
        judge("shim", &facts, &Expected::default()).verdict,
        Verdict::Skipped(_)
    ));
}

#[test]
fn shim_is_judged_by_its_answer_whatever_version_it_names() {
    let [_, (_, json), (_, protobuf)] = ANSWERS;
    fires("shim", |facts| {
        facts.shims = Ok(vec![shim_that("2.0.2", Ok(protobuf))])
    });
    silent(|facts| facts.shims = Ok(vec![shim_that("2.3.4", Ok(json))]));
    silent(|facts| facts.shims = Ok(vec![shim_that("", Ok(json))]));
    let mut facts = good();
    facts.shims = Ok(vec![shim_that("2.0.2", Ok(b"a warning"))]);
    assert_eq!(
        judge("shim", &facts, &Expected::default()).verdict,
        Verdict::Unknown
    );
    let broken = shim_that("2.0.2", Err("status 127: not found"));
    let finding = fires("shim", |facts| facts.shims = Ok(vec![broken]));
    insta::assert_snapshot!(
        finding.observed,
        @"shim 2.0.2 at /bin/shim fails under daemon v2.0.2: status 127: not found"
    );
}

#[test]
fn shim_cure_names_the_setting_that_the_daemon_heeds() {
    for (version, setting) in [("1.6.20", "runtime_type"), ("1.7.24", "runtime_path")] {
        let mut facts = good();
        facts.version.as_mut().unwrap().runtime_version = version.to_owned();
        let cure = judge("shim", &facts, &Expected::default()).cure;
        assert!(cure.is_some_and(|cure| cure.contains(setting)), "{version}");
    }
}
