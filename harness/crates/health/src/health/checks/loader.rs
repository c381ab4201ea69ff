//! The check of the loader: can the kind release of the spec load images into this node?

use super::Outcome;
use crate::health::{
    Expected,
    facts::{Facts, Seen, seen},
};
use kubenest_recipe::compat::{self, Stack, Verdict};

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
