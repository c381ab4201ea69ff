//! Check `inotify`: there is room for more inotify instances and watches.

use super::{Check, Facts, Name, When, every_runtime};
use crate::health::{
    Expected,
    facts::{Fact, Probe, require},
    outcome::Outcome,
};

pub(super) const CHECK: Check = Check {
    name: Name::Inotify,
    when: When::RuntimeRuns,
    applies: every_runtime,
    judge,
};

/// The cure for low inotify limits, for this machine and for nodes.
pub(crate) const CURE: &str = "on the engine's machine: sysctl \
     fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288, or stop other clusters";
/// Instances that a node's services and a few pods still need once it runs.
const INSTANCES_FLOOR: u64 = 8;
/// Watches to leave for the pods.
const WATCHES_FLOOR: u64 = 1024;

/// The limits of the node's root user, and how much of them is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::health) struct Inotify {
    instances: u64,
    instances_used: u64,
    watches: u64,
    watches_used: u64,
}

pub(in crate::health) fn read(probe: &Probe) -> Fact<Inotify> {
    let text = probe.part("inotify")?;
    let mut numbers = text.lines().map(|line| line.trim().parse::<u64>());
    let mut next = || match numbers.next() {
        Some(Ok(number)) => Ok(number),
        _ => Err(format!("inotify limits: {text:?}")),
    };
    Ok(Inotify {
        instances: next()?,
        instances_used: next()?,
        watches: next()?,
        watches_used: next()?,
    })
}

/// Gives each node the sum of all nodes' use: to the kernel their root users are one user.
pub(in crate::health) fn share(facts: &mut [Facts]) {
    let used: Vec<Inotify> = facts
        .iter()
        .filter_map(|facts| facts.inotify.as_ref().ok().copied())
        .collect();
    let instances = used.iter().map(|inotify| inotify.instances_used).sum();
    let watches = used.iter().map(|inotify| inotify.watches_used).sum();
    for inotify in facts
        .iter_mut()
        .filter_map(|facts| facts.inotify.as_mut().ok())
    {
        inotify.instances_used = instances;
        inotify.watches_used = watches;
    }
}

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    let inotify = require(&facts.inotify)?;
    let ok = inotify.instances_used + INSTANCES_FLOOR <= inotify.instances
        && inotify.watches_used + WATCHES_FLOOR <= inotify.watches;
    let observed = format!(
        "instances {} of {}, watches {} of {}",
        inotify.instances_used, inotify.instances, inotify.watches_used, inotify.watches
    );
    Ok(Outcome::when(ok, observed, CURE))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::{
        checks::tests::{self, fires, silent},
        facts::tests::printed,
    };

    pub(in super::super) fn good() -> Inotify {
        Inotify {
            instances: 128,
            instances_used: 20,
            watches: 8192,
            watches_used: 400,
        }
    }

    #[test]
    fn limits_are_read_with_their_use() {
        let inotify = read(&printed("@@inotify\n128\n20\n8192\n400\n"));
        assert_eq!(inotify, Ok(good()));
        let error = read(&printed("@@inotify\n128\nx")).unwrap_err();
        insta::assert_snapshot!(error, @r#"inotify limits: "128\nx""#);
    }

    #[test]
    fn what_one_node_uses_all_have_used() {
        let mut nodes = [tests::good(), tests::good()];
        share(&mut nodes);
        for node in nodes {
            let inotify = node.inotify.expect("must be there");
            assert_eq!((inotify.instances_used, inotify.watches_used), (40, 800));
        }
    }

    #[test]
    fn inotify_leaves_room() {
        fires("inotify", |facts| {
            facts.inotify.as_mut().unwrap().instances_used = 121
        });
        fires("inotify", |facts| {
            facts.inotify.as_mut().unwrap().watches_used = 8000
        });
        silent(|facts| facts.inotify.as_mut().unwrap().instances_used = 120);
    }
}
