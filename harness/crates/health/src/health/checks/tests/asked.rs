//! The checks that run only where the spec asks for what they try.

use super::*;

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
    newer.dump = Ok(dump(4, "overlayfs"));
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

    facts.dump = Ok(dump(3, "native"));
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
fn an_image_volume_must_come_back_as_mounted() {
    let verdict = |facts: &Facts| {
        let finding = IMAGE_VOLUME.judge("cp-1", facts, &Expected::default());
        (finding.verdict, finding.observed)
    };
    let mut facts = good();
    let mounts = "mounts registry.k8s.io/pause:3.10".to_owned();
    assert_eq!(verdict(&facts), (Verdict::Passed, mounts));
    let words = "Unknown: failed to mkdir \"\"".to_owned();
    facts.image_volume = Ok(Err(words.clone()));
    assert_eq!(verdict(&facts), (Verdict::Failed, words));
    facts.image_volume = Err("no answer".to_owned());
    assert_eq!(verdict(&facts).0, Verdict::Unknown);
}
