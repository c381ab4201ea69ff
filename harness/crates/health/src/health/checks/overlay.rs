//! Check `overlay`: an overlay mount really works on the node's /var.

use super::{Check, Facts, Name, When, every_runtime};
use crate::health::{
    Expected,
    facts::{Fact, Probe, require},
    outcome::Outcome,
};

pub(super) const CHECK: Check = Check {
    name: Name::Overlay,
    when: When::RuntimeRuns,
    applies: every_runtime,
    judge,
};

/// `usable`, or the error message of the failed mount.
pub(in crate::health) fn read(probe: &Probe) -> Fact<String> {
    Ok(probe.part("overlay")?.trim().to_owned())
}

fn judge(facts: &Facts, expected: &Expected) -> Fact<Outcome> {
    let observed = require(&facts.overlay)?;
    if expected.snapshotter() != "overlayfs" {
        let reason = format!("snapshotter {} mounts no overlay", expected.snapshotter());
        return Ok(Outcome::skipped(observed, reason));
    }
    let cure = "keep the node's /var on a volume (not on an overlay), or use snapshotter native";
    Ok(Outcome::when(observed == "usable", observed, cure))
}

#[cfg(test)]
mod tests {
    use crate::health::checks::tests::fires;

    #[test]
    fn overlay_must_mount() {
        fires("overlay", |facts| {
            facts.overlay = Ok("mount: wrong fs type".to_owned())
        });
    }
}
