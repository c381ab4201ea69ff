//! Check `inodes`: the file system of the images has inodes left.

use super::{Check, Facts, Name, When, every_runtime};
use crate::health::{
    Expected,
    facts::{Fact, require},
    outcome::Outcome,
};

pub(super) const CHECK: Check = Check {
    name: Name::Inodes,
    when: When::RuntimeRuns,
    applies: every_runtime,
    judge,
};

/// Percent of inodes in use above which the next image may not fit.
const CEILING: u64 = 98;

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    let disk = require(&facts.disk)?;
    let used = disk.inodes.saturating_sub(disk.inodes_free) * 100;
    let Some(used) = used.checked_div(disk.inodes) else {
        return Ok(Outcome::skipped(
            "no inode limit",
            "the file system makes them as needed",
        ));
    };
    let cure = "remove files on the engine's disk: kubenest clean, docker prune";
    Ok(Outcome::when(used < CEILING, format!("{used}% used"), cure))
}

#[cfg(test)]
mod tests {
    use crate::health::{
        Expected,
        checks::tests::{fires, good, judge},
        report::Verdict,
    };

    #[test]
    fn inodes_run_out_apart_from_bytes() {
        fires("inodes", |facts| {
            facts.disk.as_mut().unwrap().inodes_free = 10
        });
        let mut facts = good();
        (
            facts.disk.as_mut().unwrap().inodes,
            facts.disk.as_mut().unwrap().inodes_free,
        ) = (0, 0);
        assert!(matches!(
            judge("inodes", &facts, &Expected::default()).verdict,
            Verdict::Skipped(_)
        ));
    }
}
