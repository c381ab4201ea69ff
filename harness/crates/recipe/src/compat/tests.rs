//! Every row of the table, and pairs from upstream's bug reports.

use super::*;
use kubenest_base::ErrorKind;

fn v(text: &str) -> Version {
    text.parse().expect("must be a version")
}

fn cause_and_cure(verdict: Verdict) -> (String, String) {
    match verdict {
        Verdict::KnownBad { cause, cure, .. } => (cause, cure),
        other => panic!("not known bad: {other:?}"),
    }
}

#[test]
fn every_kind_release_loads_into_its_own_node_image() {
    let expected = [
        ("0.18.0", "1.6.19", 2),
        ("0.19.0", "1.6.21", 2),
        ("0.20.0", "1.7.1", 2),
        ("0.21.0", "1.7.13", 2),
        ("0.22.0", "1.7.13", 2),
        ("0.23.0", "1.7.15", 2),
        ("0.24.0", "1.7.18", 2),
        ("0.25.0", "1.7.18", 2),
        ("0.26.0", "1.7.24", 2),
        ("0.27.0", "2.0.2", 3),
        ("0.28.0", "2.1.0", 3),
        ("0.29.0", "2.1.1", 3),
        ("0.30.0", "2.1.3", 3),
        ("0.31.0", "2.2.0", 3),
        ("0.32.0", "2.3.1", 4),
        ("0.33.0", "2.3.4", 4),
    ];
    assert_eq!(table().kind.len(), expected.len());
    for (row, (release, containerd, config)) in table().kind.iter().zip(expected) {
        assert_eq!(
            (&row.release, &row.containerd),
            (&v(release), &v(containerd))
        );
        assert_eq!(
            loader(&row.release, &row.containerd),
            Verdict::KnownGood,
            "{release}"
        );
        assert_eq!(
            table().line(&row.containerd).unwrap().config,
            config,
            "{release}"
        );
        for image in std::iter::once(&row.node).chain(&row.others) {
            assert_eq!(containerd_in(image), Some(&row.containerd), "{image}");
        }
    }
}

#[test]
fn every_kind_release_and_containerd_line_have_a_verdict() {
    for kind in &table().kind {
        for line in &table().containerd {
            let containerd = v(&format!("{}.9", line.line));
            let good = match kind.release.minor {
                ..27 => line.config == 2,
                27..32 => line.config <= 3,
                _ => true,
            };
            let verdict = loader(&kind.release, &containerd);
            assert_eq!(
                verdict == Verdict::KnownGood,
                good,
                "{} {containerd}",
                kind.release
            );
        }
    }
}

#[test]
fn kind_0_26_on_containerd_2_names_the_missing_key_and_the_cure() {
    let error = loader(&v("0.26.0"), &v("2.0.2"))
        .refuse_known_bad()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(
        error.report(),
        "kind 0.26.0 cannot load images into a node with containerd 2.0.2: `containerd config \
         dump` there is version 3, which has no key \
         plugins.\"io.containerd.grpc.v1.cri\".containerd.snapshotter, so `kind load` ends with \
         `failed to detect containerd snapshotter`\n\
         cure: use kind >= 0.27.0, or containerd 1.7.x in the node; see \
         https://github.com/kubernetes-sigs/kind/issues/3853"
    );
}

#[test]
fn kind_0_31_on_containerd_2_3_cannot_read_the_config_version() {
    let (cause, cure) = cause_and_cure(loader(&v("0.31.0"), &v("2.3.1")));
    assert!(
        cause.ends_with("`unknown containerd config version: 4 (supported versions: 2 and 3)`"),
        "{cause}"
    );
    assert_eq!(cure, "use kind >= 0.32.0, or containerd 2.2.x in the node");
}

#[test]
fn the_first_2_0_releases_of_containerd_cannot_import() {
    let (_, cure) = cause_and_cure(loader(&v("0.27.0"), &v("2.0.1")));
    assert_eq!(cure, "use containerd 2.0.2 or newer in the node");
}

#[test]
fn since_2_0_images_are_imported_only_for_the_default_snapshotter() {
    let into = |containerd: &str, snapshotter: &str| {
        let containerd = v(containerd);
        let config = table().line(&containerd).unwrap().config;
        load(&v("0.33.0"), &containerd, config, Some(snapshotter))
    };
    for containerd in ["1.6.36", "1.7.24"] {
        assert_eq!(into(containerd, "native"), Verdict::KnownGood);
    }
    for containerd in ["2.0.2", "2.1.9", "2.2.0", "2.3.4", "2.4.2"] {
        let (cause, _) = cause_and_cure(into(containerd, "native"));
        assert!(cause.contains("--snapshotter=native"), "{cause}");
        assert!(cause.contains("no unpack platforms defined"), "{cause}");
        assert_eq!(into(containerd, "overlayfs"), Verdict::KnownGood);
    }
}

#[test]
fn versions_missing_in_the_table_are_unknown_and_pass() {
    for (kind, containerd) in [
        ("0.99.0", "2.0.2"),
        ("0.27.0", "9.0.0"),
        ("0.27.0", "1.5.0"),
    ] {
        let verdict = loader(&v(kind), &v(containerd));
        assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict:?}");
        verdict.refuse_known_bad().unwrap();
    }
}

#[test]
fn a_build_suffix_does_not_change_the_line() {
    assert_eq!(
        loader(&v("0.26.0"), &v("1.6.19-46-g941215f49")),
        Verdict::KnownGood
    );
    assert!(matches!(
        loader(&v("0.26.0"), &v("2.0.0-rc.1")),
        Verdict::KnownBad { .. }
    ));
}

#[test]
fn a_daemon_reads_shims_of_its_form_and_older() {
    let lines = [
        "1.6.36", "1.7.24", "2.0.2", "2.1.9", "2.2.0", "2.3.1", "2.4.2",
    ]
    .map(v);
    let form = |version: &Version| table().line(version).unwrap().shim;
    for daemon in &lines {
        for other in &lines {
            let good = shim(daemon, other) == Verdict::KnownGood;
            let untested = form(daemon) == Form::Protobuf && other.minor == 6;
            let expected = form(other) <= form(daemon) && !untested;
            assert_eq!(good, expected, "{daemon} {other}");
        }
    }
}

#[test]
fn each_shim_skew_quotes_upstreams_message() {
    for (daemon, newer, text) in [
        ("1.6.20", "2.0.2", "connect: invalid argument"),
        (
            "1.7.24",
            "2.0.2",
            "unsupported shim version (3): not implemented",
        ),
        ("1.6.20", "2.3.1", "connect: connection refused"),
        ("1.7.24", "2.3.1", "failed to create TTRPC connection"),
        ("2.1.9", "2.3.1", "unsupported protocol"),
    ] {
        let (cause, _) = cause_and_cure(shim(&v(daemon), &v(newer)));
        assert!(cause.contains(text), "{cause}");
    }
}

#[test]
fn image_volumes_come_with_containerd_2_1() {
    for containerd in ["1.6.36", "1.7.24", "2.0.2"] {
        let (_, cure) = cause_and_cure(image_volume(&v(containerd)));
        assert_eq!(cure, "use containerd 2.1 or newer in the node");
    }
    for containerd in ["2.1.0", "2.2.0", "2.4.2"] {
        assert_eq!(image_volume(&v(containerd)), Verdict::KnownGood);
    }
}

#[test]
fn a_cri_client_knows_image_mounts_since_0_31() {
    for revision in ["0.27.1", "0.30.0", "0.30.14"] {
        let (cause, cure) = cause_and_cure(cri_client(&v(revision)));
        assert!(cause.contains(&format!("cri-api {revision}")), "{cause}");
        assert!(cure.contains("cri-api 0.31.0"), "{cure}");
    }
    for revision in ["0.31.0-rc.1", "0.31.0", "0.32.1", "1.0.0"] {
        assert_eq!(cri_client(&v(revision)), Verdict::KnownGood, "{revision}");
    }
}

#[test]
fn each_kubernetes_has_recommended_releases_of_containerd() {
    let good = |release: &str, containerd: &str| {
        let verdict = kubernetes(&v(release), &v(containerd));
        let failed = matches!(verdict, Verdict::KnownBad { .. });
        let no_cri = v(containerd) < v("1.6.0");
        assert_eq!(
            failed, no_cri,
            "what is not recommended is not known to fail"
        );
        verdict == Verdict::KnownGood
    };
    for row in &table().kubernetes {
        let release = format!("{}.0", row.minor);
        for oldest in &row.containerd {
            assert!(good(&release, &oldest.to_string()), "{release} {oldest}");
            if let Some(patch) = oldest.patch.checked_sub(1) {
                let older = Version::new(oldest.major, oldest.minor, patch).to_string();
                assert!(!good(&release, &older), "{release} {older}");
            }
        }
        assert!(good(&release, "2.9.0"), "{release}: lines after the last");
        assert!(
            !good(&release, "1.5.0"),
            "{release}: lines before the first"
        );
    }
    for (release, containerd) in [
        ("1.32.1", "1.6.35"),
        ("1.32.1", "1.7.23"),
        ("1.32.1", "2.0.0"),
        ("1.34.0", "2.1.2"),
        ("1.35.0", "2.0.6"),
        ("1.36.0", "2.1.9"),
        ("1.29.0", "1.7.24"),
        ("1.37.0", "2.2.5"),
        ("1.38.0", "2.4.2"),
        ("1.38.0", "1.7.30"),
    ] {
        assert!(!good(release, containerd), "{release} {containerd}");
    }
    assert!(good("1.32.1", "1.7.24"));
    assert!(good("1.35.0", "1.7.29"));
    assert!(good("1.37.0", "2.3.4"));
    let Verdict::Unknown { why } = kubernetes(&v("1.38.0"), &v("1.7.30")) else {
        panic!("must be unknown")
    };
    assert!(why.contains("RuntimeConfig"), "{why}");
}

#[test]
fn release_lines_are_sorted_and_their_dates_are_valid() {
    let minors = |minors: Vec<&str>| -> Vec<Version> {
        minors
            .into_iter()
            .map(|minor| v(&format!("{minor}.0")))
            .collect()
    };
    let lines = minors(
        table()
            .containerd
            .iter()
            .map(|row| row.line.as_str())
            .collect(),
    );
    let rows = minors(
        table()
            .kubernetes
            .iter()
            .map(|row| row.minor.as_str())
            .collect(),
    );
    for all in [&lines, &rows] {
        assert!(all.is_sorted(), "{all:?}");
    }
    assert_eq!(
        (lines.last(), rows.last()),
        (Some(&v("2.4.0")), Some(&v("1.37.0")))
    );
    let days = table().containerd.iter().map(|row| &row.until);
    for day in days.chain(table().kubernetes.iter().map(|row| &row.until)) {
        assert!(day.parse::<jiff::civil::Date>().is_ok(), "{day}");
    }
}

/// <https://github.com/flatcar/Flatcar/issues/916>
#[test]
fn a_kubelet_and_a_runtime_need_a_cri_in_common() {
    for (release, containerd, works) in [
        ("1.25.16", "1.5.13", true),
        ("1.26.0", "1.5.13", false),
        ("1.26.0-alpha.1", "1.5.13", false),
        ("1.26.0", "1.6.0", true),
        ("1.32.1", "1.5.18", false),
        ("1.32.1", "1.6.20", true),
        ("1.22.17", "1.7.24", true),
        ("1.22.17", "2.0.0", false),
        ("1.23.0", "2.0.0", true),
    ] {
        let verdict = kubernetes(&v(release), &v(containerd));
        let bad = matches!(verdict, Verdict::KnownBad { .. });
        assert_eq!(!bad, works, "{release} {containerd}: {verdict:?}");
    }
    let (cause, cure) = cause_and_cure(kubernetes(&v("1.26.0"), &v("1.5.13")));
    assert!(
        cause.contains("unknown service runtime.v1.RuntimeService"),
        "{cause}"
    );
    assert!(cure.contains("containerd 1.6.0 or newer"), "{cure}");
}

/// <https://github.com/etcd-io/etcd/pull/21888>
#[test]
fn kind_must_write_a_version_that_kubeadm_reads() {
    for kind in &table().kind {
        for release in ["1.30.8", "1.32.1", "1.36.4", "1.37.0", "1.38.0-alpha.2"].map(v) {
            let works = release.minor < 37 || kind.release >= v("0.32.0");
            let verdict = kubeadm(&kind.release, &release);
            assert_eq!(
                verdict == Verdict::KnownGood,
                works,
                "{} {release}",
                kind.release
            );
        }
    }
    let (cause, cure) = cause_and_cure(kubeadm(&v("0.31.0"), &v("1.37.0")));
    assert!(cause.contains("kubeadm.k8s.io/v1beta3"), "{cause}");
    assert_eq!(
        cure,
        "use kind 0.32.0 or newer, or a node of Kubernetes 1.36 or older"
    );

    let image = "kindest/node:v1.37.0@sha256:\
                 a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5";
    assert_eq!(kubernetes_in(image), Some(v("1.37.0")));
    for (kind, works) in [("0.31.0", false), ("0.32.0", true), ("0.33.0", true)] {
        let stack = Stack {
            kind: Some(v(kind)),
            node_image: Some(image.to_owned()),
            ..Stack::default()
        };
        let refused = refuse_known_bad(&before_boot(&stack), &[]);
        assert_eq!(refused.is_ok(), works, "{kind}");
    }
}

/// <https://github.com/NVIDIA/OpenShell/pull/360>
#[test]
fn kubelets_since_1_35_refuse_cgroup_v1() {
    for (release, works) in [("1.34.3", true), ("1.35.0", false), ("1.36.1", false)] {
        let release = v(release);
        let good = cgroup_v1(&release) == Verdict::KnownGood;
        assert_eq!(good, works, "{release}");
        assert_eq!(refuses_cgroup_v1(&release), !works, "{release}");
        let stack = |refused_cgroup_v1| Stack {
            kubernetes: Some(release.clone()),
            refused_cgroup_v1,
            ..Stack::default()
        };
        assert_eq!(
            refuse_known_bad(&before_boot(&stack(true)), &[]).is_ok(),
            works
        );
        refuse_known_bad(&before_boot(&stack(false)), &[]).unwrap();
    }
    let (cause, cure) = cause_and_cure(cgroup_v1(&v("1.36.1")));
    assert!(
        cause.contains("configured to not run on a host using cgroup v1"),
        "{cause}"
    );
    assert!(cure.contains("failCgroupV1: false"), "{cure}");
}

#[test]
fn a_removed_flag_is_bad_from_its_minor_on() {
    for removed in &table().removed_flags.flags {
        let since = &removed.since;
        let before = Version::new(since.major, since.minor - 1, 9);
        assert_eq!(kubelet_flag(&before, &removed.flag), Verdict::KnownGood);
        let (cause, _) = cause_and_cure(kubelet_flag(since, &removed.flag));
        assert!(
            cause.contains(&format!("unknown flag: --{}", removed.flag)),
            "{cause}"
        );
    }
    let other = kubelet_flag(&v("1.36.1"), "v");
    assert!(matches!(other, Verdict::Unknown { .. }), "{other:?}");
}

/// <https://github.com/containerd/containerd/issues/12612>
#[test]
fn registry_mirrors_alone_break_two_releases_of_containerd() {
    for (containerd, works) in [
        ("1.7.24", true),
        ("2.1.9", true),
        ("2.2.0", false),
        ("2.2.1", false),
        ("2.2.2", true),
        ("2.3.4", true),
    ] {
        let stack = |registry_mirrors| Stack {
            containerd: Some(v(containerd)),
            registry_mirrors,
            ..Stack::default()
        };
        let refused = refuse_known_bad(&before_boot(&stack(true)), &[]);
        assert_eq!(refused.is_ok(), works, "{containerd}");
        refuse_known_bad(&before_boot(&stack(false)), &[]).unwrap();
    }
    let (cause, cure) = cause_and_cure(registry_mirrors(&v("2.2.0")));
    assert!(cause.contains("adds a config_path of its own"), "{cause}");
    assert!(
        cure.contains("hosts.toml") && cure.contains("2.2.2"),
        "{cure}"
    );
}

#[test]
fn end_of_life_is_a_note_and_no_refusal() {
    let stack = Stack {
        kubernetes: Some(v("1.32.1")),
        containerd: Some(v("2.3.4")),
        ..Stack::default()
    };
    let on = |day: &str| end_of_life(&stack, day.parse().unwrap());
    assert_eq!(on("2026-02-28"), Vec::<String>::new());
    let ended = on("2026-03-01");
    assert_eq!(
        ended,
        ["Kubernetes 1.32.1 gets no patches since 2026-02-28: its line is at its end"]
    );
    assert_eq!(on("2028-05-01").len(), 2);
    refuse_known_bad(&before_boot(&stack), &[]).unwrap();
}

#[test]
fn each_check_is_found_by_its_name() {
    for check in Check::ALL {
        assert_eq!(Check::named(check.name()).ok(), Some(check));
    }
    assert!(Check::named("image_volume").is_err());
}

#[test]
fn containerds_image_store_depends_on_the_image() {
    assert_eq!(image_store(ImageStore::Graph), Verdict::KnownGood);
    let Verdict::Unknown { why } = image_store(ImageStore::Containerd) else {
        panic!("must be unknown")
    };
    assert!(why.contains("content digest"), "{why}");
    assert!(why.contains("kind/issues/3795"), "{why}");
}

#[test]
fn a_node_image_is_known_by_digest_only() {
    let stray = &table().strays[0];
    assert_eq!(containerd_in(&stray.node), Some(&v("2.0.2")));
    assert!(matches!(
        loader(&v("0.26.0"), &stray.containerd),
        Verdict::KnownBad { .. }
    ));
    assert_eq!(containerd_in("kindest/node:v1.32.1"), None);
    let digest = stray.node.split_once('@').unwrap().1;
    assert_eq!(
        containerd_in(&format!("mirror/node@{digest}")),
        Some(&v("2.0.2"))
    );
    assert_eq!(containerd_in("kindest/node@sha256:"), None);
}
