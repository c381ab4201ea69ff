//! The kubelet's settings from file and flags, each as asked and otherwise.

use super::*;
use crate::health::{
    checks::tests::{self, fires, silent},
    report::Verdict,
};

/// The settings of a kubelet that deletes nothing.
pub(in super::super) fn good() -> Kubelet {
    Kubelet {
        image_gc_high: Some(100),
        image_max_age: "0s".to_owned(),
        eviction_hard: evict("nodefs.available", "0%"),
        cgroup_driver: "systemd".to_owned(),
        ..Kubelet::default()
    }
}

pub(in super::super) fn good_flags() -> Flags {
    let line = "/usr/local/bin/kubelet\n--config=/var/lib/kubelet/config.yaml";
    Flags::parse(line).expect("must parse")
}

pub(in super::super) fn evict(signal: &str, threshold: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(signal.to_owned(), threshold.to_owned())])
}

#[test]
fn configz_is_read_as_the_kubelet_writes_it() {
    let text = r#"{"kubeletconfig": {"imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 80, "imageMaximumGCAge": "0s",
        "cgroupDriver": "systemd", "unknown": 1,
        "evictionHard": {"nodefs.available": "0%"}}}"#;
    let kubelet = Kubelet::parse(text).expect("must parse");
    assert_eq!((kubelet.high(), kubelet.low()), (100, 80));
    assert_eq!(kubelet.max_age(), "0s");
    assert_eq!(kubelet.eviction_hard["nodefs.available"], "0%");
    assert!(kubelet.disk_signals().is_empty());
    assert!(Kubelet::parse("{}").is_err());
}

#[test]
fn what_nobody_set_is_the_kubelets_default() {
    let kubelet = Kubelet::parse(r#"{"kubeletconfig": {}}"#).expect("must parse");
    assert_eq!((kubelet.high(), kubelet.low()), (85, 80));
    assert_eq!(kubelet.max_age(), "0s");
}

#[test]
fn flags_win_and_say_so() {
    let flags = "/usr/local/bin/kubelet\n--config=/var/lib/kubelet/config.yaml\n\
                 --image-gc-high-threshold\n90\n--eviction-hard=imagefs.available<15%,\
                 memory.available<1Gi\n--fail-swap-on\n-v=2";
    let flags = Flags::parse(flags).expect("must parse");
    let kubelet = Kubelet::default().under(&flags);
    assert_eq!((kubelet.high(), kubelet.low()), (90, 80));
    assert_eq!(kubelet.disk_signals()["imagefs.available"], "15%");
    assert_eq!(
        flags.origin("image-gc-high-threshold"),
        "flag --image-gc-high-threshold=90"
    );
    assert_eq!(
        flags.origin("image-gc-low-threshold"),
        "/var/lib/kubelet/config.yaml"
    );
    assert!(Flags::parse("").is_err());
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
    let mut facts = tests::good();
    facts.kubelet_flags = Err("no such process".to_owned());
    let finding = tests::judge("kubelet", &facts, &Expected::default());
    assert_eq!(finding.verdict, Verdict::Unknown);
}

#[test]
fn only_what_the_file_decides_can_be_put_back() {
    let drifted = |flags: &str| {
        let mut facts = tests::good();
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
    let asked = super::drift(&tests::good(), &Expected::default());
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn kubelet_deletes_no_less_than_the_spec_asked() {
    let mut expected = Expected::default();
    expected.kubelet.eviction_hard = evict("imagefs.available", "90%");
    let finding = tests::judge("kubelet", &tests::good(), &expected);
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(finding.observed.contains("asked 90%"), "{finding:?}");
    let mut facts = tests::good();
    facts.kubelet.as_mut().unwrap().eviction_hard = evict("imagefs.available", "90%");
    assert_eq!(
        tests::judge("kubelet", &facts, &expected).verdict,
        Verdict::Passed
    );
}
