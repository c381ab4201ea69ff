//! Bundles of raw parts, without a cluster.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::{prelude::*, test_runner::Config};

use super::*;
use crate::{
    notes::{CaseNotes, ClusterNotes, Step},
    part::Journal,
    redact::{
        self,
        planted::{forms, secret, spellings, traces},
    },
};
use serde_json::json;

fn known(home: &Path, since: Option<&str>) -> About {
    let cases = since.into_iter().map(|since| CaseNotes {
        namespace: "case-1".into(),
        since_us: timeline::at_us(since).unwrap(),
        ..CaseNotes::default()
    });
    About {
        cluster: ClusterNotes {
            name: "c".into(),
            home: home.to_owned(),
            ..ClusterNotes::default()
        },
        cases: cases.collect(),
        ..About::default()
    }
}

/// A bundle of parts that node `n` has, by the names that the script of a look gives them.
fn written(known: &About, message: &str, parts: &[(&str, &str)]) -> Bundle {
    let why = Occasion {
        message: message.into(),
        ..Occasion::default()
    };
    let mut found = Parts::default();
    for (name, text) in parts {
        found.add(PartId::by_name("n", name).unwrap(), *text);
    }
    write(known, &why, found, &BTreeSet::new()).unwrap()
}

/// The failures appear in a journal, as events or in a command's output, as on the nodes of a test.
#[test]
fn bundles_of_the_documented_failures_name_the_right_cause_first() {
    let home = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../diagnosis/src/fixtures");
    for id in [
        "kind-snapshotter-not-detected",
        "kind-config-version-unknown",
        "shim-newer-than-daemon",
        "image-volume-empty-host-path",
        "image-collected",
    ] {
        for entry in fs::read_dir(root.join(id)).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let known = known(home.path(), None);
            let kept = match name {
                _ if name.ends_with(".json") => written(&known, "", &[("api/events.json", &text)]),
                _ if name.ends_with(".txt") => written(&known, &text, &[]),
                _ if name.contains("kubelet") => {
                    written(&known, "no pod", &[("kubelet.log", &text)])
                }
                _ => written(&known, "no pod", &[("containerd.log", &text)]),
            };
            let first = kept.causes.first().map(|cause| cause.id.as_str());
            assert_eq!(first, Some(id), "{name}");
            assert!(kept.to_string().starts_with("cause     "), "{kept}");
            kept.assert_cause(id);
        }
    }
}

#[test]
fn a_bundle_that_does_not_tell_its_cause_by_itself_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let words = "ERROR: failed to detect containerd snapshotter";
    let kept = written(&known(home.path(), None), words, &[]);
    kept.assert_cause("kind-snapshotter-not-detected");
    let refuses = |id| std::panic::catch_unwind(|| kept.assert_cause(id)).is_err();
    assert!(refuses("image-collected"));
    // The cause is still there, but not where it was quoted from.
    let message = kept.folder.join("message.txt");
    fs::write(&message, format!("\n{words}\n")).unwrap();
    assert!(refuses("kind-snapshotter-not-detected"));
    fs::remove_file(message).unwrap();
    assert!(refuses("kind-snapshotter-not-detected"));
}

#[test]
fn a_case_has_its_own_time_and_the_cluster_all_of_it() {
    let home = tempfile::tempdir().unwrap();
    let known = known(home.path(), Some("2026-11-21T10:00:00Z"));
    let log = "2026-11-21T09:00:00Z stdout F before\n2026-11-21T11:00:00Z stdout F within\n";
    let before = "2026-11-21T09:00:00+0000 n kubelet[1]: before\n";
    let within = "2026-11-21T10:00:00.000001+0000 n kubelet[1]: within\n";
    let kept = written(
        &known,
        "",
        &[
            ("pods/a_b_c/d/0.log", log),
            ("full/kubelet.log", before),
            // This includes the line at the cursor.
            ("kubelet.log", &[before, within].concat()),
        ],
    );
    let read = |folder: &Path, path: &str| fs::read_to_string(folder.join(path)).unwrap();
    let own = read(&kept.folder, "pods/n/a_b_c/d/0.log");
    assert_eq!(own, "2026-11-21T11:00:00Z stdout F within\n");
    let full = home.path().join("cluster-c");
    assert_eq!(read(&full, "pods/n/a_b_c/d/0.log"), log);
    assert_eq!(read(&full, "nodes/n/kubelet.log"), before);
    assert_eq!(read(&kept.folder, "nodes/n/kubelet.log"), within);
}

#[test]
fn a_part_that_is_broken_costs_itself_and_one_that_is_cut_its_first_line() {
    let home = tempfile::tempdir().unwrap();
    let mut found = Parts::default();
    found.add(
        Kind::Namespace("kube-system".into()).of_none(),
        "{\"items\": [",
    );
    found.found.push(Part {
        id: Kind::Journal(Journal::AllUnits).of("n"),
        bytes: b"half a secret\nwhole\x1b[31m\n".to_vec(),
        cut: true,
    });
    found.miss("CRI", "n", "token=abcdef.0123456789abcdef");
    let known = known(home.path(), None);
    let kept = write(&known, &Occasion::default(), found, &BTreeSet::new()).unwrap();
    let journal = fs::read_to_string(kept.folder.join("nodes/n/journal.log")).unwrap();
    assert_eq!(journal, "whole\n");
    assert_eq!(kept.files, 1);
    assert_eq!(kept.missing[0].name, "api/kube-system.json");
    assert!(!kept.missing[1].error.contains("0123456789abcdef"));
    for page in ["index.html", "index.json"] {
        assert!(kept.folder.join(page).is_file());
    }
}

/// Every source of evidence contains the value, in every form.
fn gathered_with(value: &str) -> Parts {
    let lines = forms(value).join("\n");
    let stamped = |stamp: &str| {
        let lines = lines.lines().map(|line| format!("{stamp}{line}\n"));
        lines.collect::<String>()
    };
    let pod = json!({"kind": "Pod", "metadata": {"name": "p", "annotations": {value: value}},
        "spec": {"containers": [{"args": ["--mode", value], "env": [{"name": "MODE", "value": value}]}]}});
    let secret = json!({"kind": "Secret", "data": {"mode": BASE64_STANDARD.encode(value)}});
    let event = json!({"kind": "Event", "message": lines, "reason": value, "type": "Warning",
        "lastTimestamp": "2026-11-21T10:00:00Z", "involvedObject": {"name": "p"}});
    let list = |items: Vec<Value>| json!({"kind": "List", "items": items}).to_string();
    let mut found = Parts::default();
    let inspected = json!({"Config": {"Env": [format!("MODE={value}")], "Cmd": [value]}});
    let configz = json!({"kubeletconfig": {"mode": value, "all": lines}});
    for (kind, text) in [
        (Kind::Secrets, list(vec![secret])),
        (Kind::Namespace("case-1".into()), list(vec![pod])),
        (Kind::Events, list(vec![event])),
        (Kind::Container, inspected.to_string()),
        (Kind::ContainerLog, stamped("2026-11-21T10:00:00Z ")),
        (
            Kind::Journal(Journal::Kubelet),
            stamped("2026-11-21T10:00:00+0000 n kubelet[1]: "),
        ),
        (
            Kind::WholeJournal(Journal::Kubelet),
            stamped("2026-11-21T10:00:00+0000 n kubelet[1]: "),
        ),
        (
            Kind::Journal(Journal::Runtime),
            stamped("2026-11-21T10:00:00+0000 n containerd[1]: "),
        ),
        (Kind::Configz, configz.to_string()),
        (Kind::NodeFile("/kind/kubeadm.conf".into()), lines.clone()),
        (
            Kind::PodLog("a_b_c/d/0.log".into()),
            stamped("2026-11-21T10:00:00Z stdout F "),
        ),
    ] {
        found.add(kind.of("n"), text);
    }
    found.miss("CRI", "n", &lines);
    found
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(Config { cases: 2, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_file_of_a_bundle_has_a_known_value(value in secret()) {
        let home = tempfile::tempdir().unwrap();
        let found = gathered_with(&value);
        let lines = forms(&value).join("\n");
        let why = Occasion {
            reason: "test failed",
            message: lines.clone(),
            expected: Some(lines.clone()),
            observed: Some(format!("saw {value}")),
        };
        let step = Step { at_us: 1, failed: true, text: lines, ..Step::default() };
        let known = About { steps: vec![step], ..known(home.path(), Some("2026-11-21T09:00:00Z")) };
        let secrets = redact::secrets_in(&found.documents());
        let kept = write(&known, &why, found, &secrets).unwrap();
        prop_assert!(kept.files >= 10, "{}", kept.files);
        let traces = traces(&value);
        for file in files_below(home.path()) {
            let text = fs::read_to_string(&file).unwrap();
            for told in spellings(&text) {
                let trace = traces.iter().find(|trace| told.contains(trace.as_str()));
                prop_assert!(trace.is_none(), "{trace:?} of {value} is in {}", file.display());
            }
        }
    }
}
