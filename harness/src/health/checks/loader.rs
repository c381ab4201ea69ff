//! The check of the loader: can the kind release of the spec load images into this node?

use super::Outcome;
use crate::{
    compat::{self, Stack, Verdict},
    health::{
        Expected,
        facts::{Facts, Seen, seen},
    },
};

/// What is known of the pair, and where nothing is, what an import showed.
pub(super) fn judge(facts: &Facts, expected: &Expected) -> Seen<Outcome> {
    let Some(kind) = &expected.loader else {
        return Ok(Outcome::skipped("", "nothing is loaded by kind"));
    };
    let config = seen(&facts.dump)?.version;
    let import = seen(&facts.import)?;
    let stack = Stack {
        kind: Some(kind.clone()),
        ..facts.stack()
    };
    let findings = compat::before_boot(&stack);
    let loader = findings
        .into_iter()
        .find(|finding| finding.name == "loader");
    let known = loader.ok_or("kind was not judged")?.verdict;
    let observed = match (known, &import.ended) {
        (
            Verdict::KnownBad {
                cause, cure, link, ..
            },
            _,
        ) => return Ok(Outcome::failed(cause, format!("{cure}; see {link}"))),
        (_, Err(words)) => {
            let observed = format!("an import with the options of kind {kind} ends with `{words}`");
            return Ok(Outcome::failed(observed, import_cure(&stack)));
        }
        (Verdict::KnownGood, Ok(())) => format!("kind {kind} reads configuration version {config}"),
        (Verdict::Unknown { why }, Ok(())) => format!("nothing is known of the pair: {why}"),
    };
    let snapshotter = &import.snapshotter;
    Ok(Outcome::passed(format!(
        "{observed}; an image imported with its options into {snapshotter} is there"
    )))
}

fn import_cure(stack: &Stack) -> String {
    let snapshotter = stack.snapshotter.as_deref();
    let known = stack.containerd.as_ref();
    match known.map(|containerd| compat::imports(containerd, snapshotter)) {
        Some(Verdict::KnownBad { cure, link, .. }) => format!("{cure}; see {link}"),
        _ => "read `journalctl -u containerd` in the node".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{LOADER, tests::good},
        *,
    };
    use crate::health::{
        Finding,
        loader::{Dump, Import},
        report::Verdict,
    };

    pub(in super::super) fn dump(version: u32, snapshotter: &str) -> Dump {
        Dump {
            version,
            snapshotter: Some(snapshotter.to_owned()),
        }
    }

    pub(in super::super) fn imported(snapshotter: &str, ended: Result<(), String>) -> Import {
        Import {
            snapshotter: snapshotter.to_owned(),
            ended,
        }
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
}
