//! Facts about a node, and the script that most of them come from.

use std::{collections::BTreeMap, time::Duration, time::SystemTime};

use kubenest_base::{Error, Result, wait::Deadline};
use kubenest_node::node::Node;

/// How long one fact may take; a node that needs longer is unhealthy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A fact, or why it could not be collected.
pub(super) type Fact<T> = Result<T, String>;

/// The fact, or why there is none.
pub(super) fn require<T>(fact: &Fact<T>) -> Result<&T, String> {
    fact.as_ref().map_err(Clone::clone)
}

/// Makes a fact of a fallible call, within the deadline.
pub(super) async fn within<T>(call: impl Future<Output = Result<T>>) -> Fact<T> {
    let deadline = Deadline::begin(PATIENCE);
    let answered = deadline.give(call).await;
    let result = answered.unwrap_or_else(|| Err(Error::timeout(deadline.silence())));
    result.map_err(in_one_line)
}

/// The whole report of an error, in one line.
pub(super) fn in_one_line(error: Error) -> String {
    error.report().replace('\n', "; ")
}

/// The output of `probe.sh` in a node, by part; each check reads its own part.
#[derive(Debug)]
pub(super) struct Probe {
    parts: Fact<BTreeMap<String, String>>,
    /// When the script was started and when it had ended, by this machine's clock.
    pub(super) ran: (SystemTime, SystemTime),
}

impl Probe {
    /// Runs the script.
    pub(super) async fn run(node: &Node) -> Self {
        let service = node.runtime().service();
        let argv = ["sh", "-c", include_str!("probe.sh"), "probe", service];
        let before = SystemTime::now();
        // The output counts, not the exit status.
        let text = within(async { Ok(node.exec(&argv).await?.text()) }).await;
        Self::read(text, (before, SystemTime::now()))
    }

    /// Splits the output into its parts.
    pub(super) fn read(text: Fact<String>, ran: (SystemTime, SystemTime)) -> Self {
        let parts = text.map(|text| {
            let parts = text.strip_prefix("@@").unwrap_or(&text).split("\n@@");
            let named = parts.map(|part| part.split_once('\n').unwrap_or((part, "")));
            let owned = named.map(|(name, text)| (name.to_owned(), text.to_owned()));
            owned.collect()
        });
        Self { parts, ran }
    }

    /// The part of this name.
    pub(super) fn part(&self, name: &str) -> Fact<&str> {
        let part = require(&self.parts)?.get(name);
        let part = part.ok_or_else(|| format!("the probe gave no '{name}'"))?;
        Ok(part)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A probe with this output.
    pub(in crate::health) fn printed(text: &str) -> Probe {
        let now = SystemTime::UNIX_EPOCH;
        Probe::read(Ok(text.to_owned()), (now, now))
    }

    #[test]
    fn a_probe_is_read_part_by_part() {
        let probe = printed("@@clock\n12\n@@daemon\n/bin/a\n/\n@@overlay\nusable\n");
        assert_eq!(probe.part("clock"), Ok("12"));
        assert_eq!(probe.part("daemon"), Ok("/bin/a\n/"));
        assert_eq!(probe.part("overlay"), Ok("usable\n"));
        let error = probe.part("cgroup").unwrap_err();
        insta::assert_snapshot!(error, @"the probe gave no 'cgroup'");
    }

    #[test]
    fn a_probe_that_did_not_run_has_no_part() {
        let now = SystemTime::UNIX_EPOCH;
        let probe = Probe::read(Err("no such node".to_owned()), (now, now));
        assert_eq!(probe.part("clock"), Err("no such node".to_owned()));
    }
}
