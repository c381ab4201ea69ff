//! Verdicts, and the files in which test processes leave them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::phase::{self, Phase};

/// How a test, or a case of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything held.
    Passed,
    /// An assertion does not hold.
    Failed,
    /// The set-up failed before the test could check anything.
    Setup,
    /// Left out by libtest (`#[ignore]`).
    Ignored,
    /// The test itself says that it cannot run here.
    Skipped,
    /// Ended by Ctrl-C or SIGTERM.
    Interrupted,
}

impl Verdict {
    /// Whether the test ran and did not pass.
    pub fn is_red(self) -> bool {
        matches!(self, Self::Failed | Self::Setup | Self::Interrupted)
    }
}

/// A file in the folder that `KUBENEST_VERDICTS` names. A test leaves one for each of its cases and
/// one for each failed boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictFile {
    /// The test that left it.
    #[serde(default)]
    pub test: String,
    /// How the case or the boot ended.
    pub verdict: Verdict,
    /// The cluster of the case or boot, if the cluster had booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Random id of that cluster's boot, by which all cases on it share the boot's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Versions that ran, such as kubernetes = 1.32.1.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// What the test expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What the test observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Seconds by phase.
    #[serde(default, deserialize_with = "phase::deserialize_known")]
    pub phases: BTreeMap<Phase, f64>,
    /// The folder with the evidence of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<PathBuf>,
}

impl VerdictFile {
    /// A verdict with all other fields empty.
    pub fn new(test: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            test: test.into(),
            verdict,
            cluster: None,
            boot: None,
            versions: BTreeMap::new(),
            expected: None,
            observed: None,
            message: None,
            phases: BTreeMap::new(),
            evidence: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_as_it_was_written() {
        let file = VerdictFile {
            cluster: Some("kn-1".to_owned()),
            boot: Some("0a1b".to_owned()),
            versions: BTreeMap::from([("kubernetes".to_owned(), "1.32.1".to_owned())]),
            message: Some("image is absent".to_owned()),
            phases: BTreeMap::from([(Phase::Boot, 9.5), (Phase::Body, 1.25)]),
            evidence: Some("evidence/a".into()),
            ..VerdictFile::new("a::b", Verdict::Failed)
        };
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<VerdictFile>(&text).unwrap(), file);
    }

    #[test]
    fn missing_and_unknown_fields_are_accepted() {
        let text =
            r#"{"test": "a", "verdict": "setup", "phases": {"boot": 2, "nap": 1}, "new": 1}"#;
        let file: VerdictFile = serde_json::from_str(text).unwrap();
        assert_eq!(file.verdict, Verdict::Setup);
        assert_eq!(file.phases, BTreeMap::from([(Phase::Boot, 2.0)]));
    }

    #[test]
    fn an_unknown_verdict_is_refused() {
        for text in [r#"{"test": "a", "verdict": "green"}"#, r#"{"test": "a"}"#] {
            assert!(serde_json::from_str::<VerdictFile>(text).is_err(), "{text}");
        }
    }
}
