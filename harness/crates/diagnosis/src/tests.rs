//! Every cause of the table against real logs that show it and logs that only look similar.
//!
//! `fixtures/<id>/` has the logs that show a cause, `fixtures/silent/` those that show none:
//! healthy journals and, in `<id>.log`, lines that look like that cause. The first line of each log
//! says where it is from.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::{causes::causes, *};

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fixtures");
    let entries = fs::read_dir(root.join(folder)).unwrap_or_else(|_| panic!("no {folder}/"));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("must list").path())
        .collect();
    paths.sort();
    paths
}

fn diagnose_file(path: &Path) -> Vec<Diagnosis> {
    diagnose(&read(&[path.to_owned()]).expect("must read").evidence)
}

fn ids(found: &[Diagnosis]) -> Vec<&str> {
    found.iter().map(|diagnosis| diagnosis.id).collect()
}

#[test]
fn the_table_is_sound() {
    let mut before = HashSet::new();
    for cause in causes() {
        assert!(
            cause.follows.is_none_or(|root| before.contains(root)),
            "{}",
            cause.id
        );
        let explained = cause.signs.iter().filter_map(|sign| sign.unless);
        assert!(
            explained.clone().all(|root| before.contains(root)),
            "{}",
            cause.id
        );
        assert!(before.insert(cause.id), "{} is there twice", cause.id);
        let shape = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(cause.id.chars().all(shape), "{}", cause.id);
        assert!(
            !cause.links.is_empty() && !cause.signs.is_empty(),
            "{}",
            cause.id
        );
        assert!(
            cause.links.iter().all(|link| link.starts_with("https://")),
            "{}",
            cause.id
        );
    }
}

#[test]
fn each_cause_is_recognised_in_logs_that_show_it() {
    for cause in causes() {
        let logs = fixtures(cause.id);
        assert!(!logs.is_empty(), "{} has no fixture", cause.id);
        for log in logs {
            let found = diagnose_file(&log);
            let expected: Vec<_> = causes()
                .filter(|other| other.id == cause.id || leads(other, cause) || leads(cause, other))
                .map(|other| other.id)
                .collect();
            let ids = ids(&found);
            assert!(ids.contains(&cause.id), "{}: {ids:?}", log.display());
            assert!(
                ids.iter().all(|id| expected.contains(id)),
                "{}: {ids:?}",
                log.display()
            );
            for diagnosis in &found {
                let texts = [&diagnosis.cause, &diagnosis.cure];
                assert!(
                    texts.iter().all(|text| !text.is_empty()),
                    "{}",
                    log.display()
                );
                assert!(!diagnosis.lines.is_empty() && diagnosis.count >= diagnosis.lines.len());
            }
        }
    }
}

fn leads(root: &rule::Cause, to: &rule::Cause) -> bool {
    to.follows == Some(root.id)
}

#[test]
fn logs_that_only_look_similar_show_nothing() {
    let logs = fixtures("silent");
    for cause in causes() {
        let name = format!("{}.log", cause.id);
        assert!(
            logs.iter().any(|log| log.ends_with(&name)),
            "no silent/{name}"
        );
    }
    for log in logs {
        assert_eq!(
            ids(&diagnose_file(&log)),
            Vec::<&str>::new(),
            "{}",
            log.display()
        );
    }
}

#[test]
fn every_fixture_names_its_origin() {
    for folder in causes().map(|cause| cause.id).chain(["silent"]) {
        for log in fixtures(folder) {
            let text = fs::read_to_string(&log).expect("must read");
            let said = text.starts_with("# ") || text.starts_with("{\n \"how\": ");
            assert!(said, "{}", log.display());
            assert!(text.lines().count() <= 80, "{} is long", log.display());
        }
    }
}

#[test]
fn many_causes_were_provoked_with_the_real_program() {
    let provoked = |log: &PathBuf| {
        let text = fs::read_to_string(log).expect("must read");
        text.starts_with("# provoked: ")
    };
    let shown = causes().filter(|cause| fixtures(cause.id).iter().any(provoked));
    assert!(causes().count() >= 45);
    assert!(shown.count() >= 20);
}

#[test]
fn cut_or_damaged_logs_show_no_other_cause() {
    for folder in causes().map(|cause| cause.id) {
        for log in fixtures(folder) {
            let bytes = fs::read(&log).expect("must read");
            let whole = diagnose_file(&log);
            for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
                let mut broken = bytes.clone();
                broken[at] = 0xff;
                read_stream("-", Speaker::Unknown, &broken[..]).expect("must read");
                let cut = read_stream("-", Speaker::Unknown, &bytes[..at]).expect("must read");
                let cut = diagnose(&cut.evidence);
                let known = |id: &&str| ids(&whole).iter().any(|of| of == id || explains(of, id));
                assert!(ids(&cut).iter().all(known), "{}", log.display());
            }
        }
    }
}

/// Whether a cause explains a sign of another away.
fn explains(cause: &str, of: &str) -> bool {
    let mut others = causes().filter(|other| other.id == of);
    others.any(|other| other.signs.iter().any(|sign| sign.unless == Some(cause)))
}

#[test]
fn output_of_a_pod_shows_only_causes_that_pods_can_show() {
    let told_by_pods = |cause: &rule::Cause| {
        let mut signs = cause.signs.iter();
        signs.any(|sign| sign.sources.contains(&Speaker::Pod))
    };
    for cause in causes() {
        let allowed: &[&str] = if told_by_pods(cause) {
            &[cause.id]
        } else {
            &[]
        };
        for log in fixtures(cause.id) {
            let text = fs::read_to_string(&log).expect("must read");
            let printed: Vec<_> = text
                .lines()
                .map(|line| format!("2026-11-21T10:10:29.123456789Z stderr F {line}\n"))
                .collect();
            let reading = read_stream("-", Speaker::Unknown, printed.concat().as_bytes());
            let found = diagnose(&reading.expect("must read").evidence);
            let mut ids = ids(&found).into_iter();
            assert!(ids.all(|id| allowed.contains(&id)), "{}", log.display());
        }
    }
}

#[test]
fn the_error_of_a_boot_is_diagnosed() {
    let words = "kubelet on node 'n1' keeps exiting: E1121 10:43:18.177991    3117 run.go:72] \
        \"command failed\" err=\"failed to validate kubelet configuration, error: invalid \
        configuration: imageGCLowThresholdPercent (--image-gc-low-threshold) 100 must be less \
        than imageGCHighThresholdPercent (--image-gc-high-threshold) 100, path: &TypeMeta{}\"";
    let error = Error::setup("boot cluster 'a'").because(Error::setup(words));
    let found = diagnose(&Evidence::error(&error));
    assert_eq!(ids(&found), ["kubelet-image-gc-thresholds"]);
    assert_eq!(found[0].facts["low"], ["100"]);
}

#[test]
fn lines_of_another_node_or_in_the_wrong_order_are_no_pair() {
    let removal = "\"Removing image to free bytes\" imageID=\"sha256:ab\" size=1";
    let missing =
        "\"x\" err=\"Container image \\\"a:v1\\\" is not present with pull policy of Never\"";
    let on = |node: &str, text| Evidence::lines(Speaker::Kubelet, text).remove(0).on(node);
    let roots =
        |evidence: &[Evidence]| ids(&diagnose(evidence)).first() == Some(&"image-collected");
    assert!(roots(&[on("n1", removal), on("n1", missing)]));
    let on_crio = removal.replace("sha256:ab", "ab");
    assert!(roots(&[on("n1", &on_crio), on("n1", missing)]));
    assert!(!roots(&[on("n1", missing), on("n1", removal)]));
    assert!(!roots(&[on("n1", removal), on("n2", missing)]));
    // The order of lines in different logs is unknown.
    let event = "Container image \"a:v1\" is not present with pull policy of Never";
    let event = Evidence::event("ErrImageNeverPull", event);
    assert!(roots(&[event, on("n1", removal)]));
}

#[test]
fn a_daemon_that_was_restarted_is_not_stale() {
    let [ran, started, refused] = [
        "StartContainer for \"ab\" returns successfully",
        "starting containerd revision= version=1.7.24",
        "RunPodSandbox failed, error error=failed to create containerd task: failed to start \
         shim: start failed: unsupported shim version (3): not implemented",
    ];
    let told = |lines: [&str; 3]| {
        let found = diagnose(&Evidence::lines(Speaker::Runtime, &lines.join("\n")));
        ids(&found).join(" ")
    };
    assert_eq!(
        told([started, ran, refused]),
        "containerd-not-restarted shim-newer-than-daemon"
    );
    assert_eq!(told([ran, started, refused]), "shim-newer-than-daemon");
}

#[test]
fn an_explained_sign_is_ignored_on_that_node_only() {
    let refused = "failed to run Kubelet: validate service connection: CRI v1 runtime API is not \
        implemented for endpoint \"unix:///run/containerd/containerd.sock\": rpc error: code = \
        Unimplemented desc = unknown service runtime.v1.RuntimeService";
    let on = |node: &str, source, text| Evidence::lines(source, text).remove(0).on(node);
    let old = on("n1", Speaker::Cli, "RuntimeVersion:  1.5.13");
    let told = |lines: &[Evidence]| ids(&diagnose(lines)).join(" ");
    let [n1, n2] = ["n1", "n2"].map(|node| on(node, Speaker::Kubelet, refused));
    assert_eq!(told(std::slice::from_ref(&n1)), "cri-plugin-missing");
    assert_eq!(told(&[n1.clone(), old.clone()]), "cri-v1-missing");
    assert_eq!(told(&[n1, old, n2]), "cri-v1-missing cri-plugin-missing");
}

#[test]
fn a_line_with_two_signs_is_counted_once() {
    let line = "failed to parse kubelet flag: unknown flag: --pod-infra-container-image";
    let found = diagnose(&Evidence::lines(Speaker::Kubelet, line));
    assert_eq!((found[0].count, found[0].lines.len()), (1, 1));
    assert_eq!(found[0].facts["gone"], ["1.35"]);
    assert!(found[0].cause.contains("Kubernetes 1.35 removed"));
}
