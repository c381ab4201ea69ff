//! Check `snapshotter`: containerd unpacks images with the snapshotter that the spec asks for,
//! whatever its configuration file says; CRI-O with its storage driver, and it has pins.

use super::{Check, Facts, Name, When, crio, every_runtime};
use crate::health::{
    Expected,
    facts::{Fact, require},
    outcome::Outcome,
};
use kubenest_node::node::Runtime;

pub(super) const CHECK: Check = Check {
    name: Name::Snapshotter,
    when: When::RuntimeRuns,
    applies: every_runtime,
    judge,
};

/// The snapshotter in effect.
pub(super) fn of(image_folders: &Fact<Vec<String>>) -> Fact<&str> {
    // The first folder is the default snapshotter's; others belong to single runtimes.
    let folder = require(image_folders)?.first().map_or("", String::as_str);
    let (_, name) = folder
        .rsplit_once("io.containerd.snapshotter.v1.")
        .ok_or_else(|| format!("image folder '{folder}' names no snapshotter"))?;
    Ok(name)
}

fn judge(facts: &Facts, expected: &Expected) -> Fact<Outcome> {
    if facts.runtime == Runtime::CriO {
        return crio::judge_storage(facts);
    }
    let in_effect = of(&facts.cri.image_folders)?;
    let wanted = expected.snapshotter();
    Ok(Outcome::when(
        in_effect == wanted,
        format!("{in_effect} (expected {wanted})"),
        // containerd 2.0 migrates a version 2 file's snapshotter only beside a runtimes table.
        format!("set snapshotter = \"{wanted}\" in containerd's config, beside its runtimes"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{
        checks::tests::{fires, good, judge},
        report::Verdict,
    };

    #[test]
    fn snapshotter_is_the_one_in_effect() {
        let native = "/var/lib/containerd/io.containerd.snapshotter.v1.native".to_owned();
        fires("snapshotter", |facts| {
            facts.cri.image_folders = Ok(vec![native.clone()])
        });
        let mut facts = good();
        facts.cri.image_folders = Ok(vec!["/var/lib/images".to_owned()]);
        let finding = judge("snapshotter", &facts, &Expected::default());
        assert_eq!(finding.verdict, Verdict::Unknown);
        facts.cri.image_folders = Ok(vec![native]);
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
}
