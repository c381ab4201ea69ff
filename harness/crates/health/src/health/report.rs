//! The findings of checks: one for each check and node, as a table and as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use kubenest_base::{Error, Result};

/// The findings of a run of checks, in the order of nodes and then of checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// One per check and node.
    pub findings: Vec<Finding>,
}

/// What one check saw on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// Name of the check, such as `shim`.
    pub name: String,
    /// Name of the node, or `host`.
    pub node: String,
    /// What was seen, for people.
    pub observed: String,
    /// What that means.
    pub verdict: Verdict,
    /// What to do about it, unless the check passed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cure: Option<String>,
}

/// The meaning of an observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Known to break tests.
    Failed,
    /// The check does not apply here, for this reason.
    Skipped(String),
    /// It could not be observed, so nothing is proved.
    Unknown,
}

impl Report {
    /// Refuses when a check failed or could not be observed; checks named in `tolerated` may.
    ///
    /// # Errors
    /// [`Refused`](kubenest_base::ErrorKind::Refused), with check, node, observation and cure of the
    /// first such finding and the names of the others.
    pub fn require(&self, tolerated: &[String]) -> Result<()> {
        let mut sick = self.findings.iter().filter(|finding| {
            matches!(finding.verdict, Verdict::Failed | Verdict::Unknown)
                && !tolerated.contains(&finding.name)
        });
        let Some(first) = sick.next() else {
            return Ok(());
        };
        let more: Vec<_> = sick
            .map(|f| format!("'{}' on {}", f.name, f.node))
            .collect();
        let mut what = format!(
            "health check '{}' {} on {}: {}",
            first.name, first.verdict, first.node, first.observed
        );
        if !more.is_empty() {
            what.push_str(&format!("; also {}", more.join(", ")));
        }
        Err(Error::refused(what).cure(first.cure.clone().unwrap_or_default()))
    }
}

/// A table; a cure stands on its own line below its finding.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Finding) -> &str, title: &str| {
            let widths = self
                .findings
                .iter()
                .map(|finding| of(finding).chars().count());
            widths.chain([title.len()]).max().unwrap_or_default()
        };
        let node = width(|finding| &finding.node, "NODE");
        let name = width(|finding| &finding.name, "CHECK");
        writeln!(
            f,
            "{:node$}  {:name$}  {:7}  OBSERVED",
            "NODE", "CHECK", "VERDICT"
        )?;
        for finding in &self.findings {
            let Finding {
                verdict, observed, ..
            } = finding;
            write!(f, "{:node$}  {:name$}  ", finding.node, finding.name)?;
            match verdict {
                Verdict::Skipped(reason) => writeln!(f, "{verdict:7}  {observed} ({reason})")?,
                _ => writeln!(f, "{verdict:7}  {observed}")?,
            }
            if let Some(cure) = &finding.cure {
                writeln!(f, "{:1$}cure: {cure}", "", node + name + 13)?;
            }
        }
        Ok(())
    }
}

/// One word.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped(_) => "skipped",
            Self::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use kubenest_base::ErrorKind;

    fn finding(name: &str, verdict: Verdict, cure: Option<&str>) -> Finding {
        Finding {
            name: name.to_owned(),
            node: "cp-1".to_owned(),
            observed: format!("what {name} saw"),
            verdict,
            cure: cure.map(str::to_owned),
        }
    }

    fn report() -> Report {
        let skipped = Verdict::Skipped("not used".to_owned());
        Report {
            findings: vec![
                finding("snapshotter", Verdict::Passed, None),
                finding(
                    "shim",
                    Verdict::Failed,
                    Some("install the shim of the daemon"),
                ),
                finding("overlay", skipped, None),
                finding("clock", Verdict::Unknown, Some("look inside")),
            ],
        }
    }

    #[test]
    fn the_table_puts_the_cure_below_the_finding() {
        assert_snapshot!(report(), @r"
        NODE  CHECK        VERDICT  OBSERVED
        cp-1  snapshotter  passed   what snapshotter saw
        cp-1  shim         failed   what shim saw
                                    cure: install the shim of the daemon
        cp-1  overlay      skipped  what overlay saw (not used)
        cp-1  clock        unknown  what clock saw
                                    cure: look inside
        ");
    }

    #[test]
    fn a_failed_check_is_refused_and_names_the_others() {
        let error = report().require(&[]).expect_err("must be refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_snapshot!(error.report(), @r"
        health check 'shim' failed on cp-1: what shim saw; also 'clock' on cp-1
        cure: install the shim of the daemon
        ");
    }

    #[test]
    fn a_tolerated_check_may_fail_and_another_may_not() {
        let tolerated = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let tolerated: Vec<Vec<String>> = vec![tolerated(&["shim"]), tolerated(&["shim", "clock"])];
        assert!(
            report().require(&tolerated[0]).is_err(),
            "clock must still refuse"
        );
        assert!(report().require(&tolerated[1]).is_ok());
    }

    #[test]
    fn json_round_trips() {
        let text = serde_json::to_string(&report()).expect("must serialize");
        assert_eq!(
            serde_json::from_str::<Report>(&text).expect("must parse"),
            report()
        );
        assert!(
            text.contains(r#""verdict":{"skipped":"not used"}"#),
            "{text}"
        );
    }
}
