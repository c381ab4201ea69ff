//! Verdicts, and the files in which test processes leave them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::phase::{self, Phase};

/// How a test, or a case of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should.
    Passed,
    /// An assertion does not hold.
    Failed,
    /// The test never came to its question.
    Setup,
    /// libtest was told to leave it out.
    Ignored,
    /// It says itself that it cannot be asked here.
    Skipped,
    /// Ended by Ctrl-C or SIGTERM.
    Interrupted,
}

impl Verdict {
    /// The test ran and did not pass.
    pub fn is_red(self) -> bool {
        matches!(self, Self::Failed | Self::Setup | Self::Interrupted)
    }
}

/// A file in the folder that `KUBENEST_VERDICTS` names. Of a test there are as many as it has
/// cases, and more where a boot failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictFile {
    /// The test that left it.
    #[serde(default)]
    pub test: String,
    /// How the case or the boot ended.
    pub verdict: Verdict,
    /// The cluster it is about, if one had booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The random number of the boot of that cluster: all cases on it tell of this one boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// What ran, such as kubernetes = 1.32.1.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// What the test expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What it saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Seconds of each part.
    #[serde(default, deserialize_with = "phase::known")]
    pub phases: BTreeMap<Phase, f64>,
    /// The folder with everything collected of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<PathBuf>,
}

impl VerdictFile {
    /// A verdict of which nothing else is known yet.
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
    fn a_verdict_may_leave_out_what_is_unknown_and_say_what_is_not_known_here() {
        let text =
            r#"{"test": "a", "verdict": "setup", "phases": {"boot": 2, "nap": 1}, "new": 1}"#;
        let file: VerdictFile = serde_json::from_str(text).unwrap();
        assert_eq!(file.verdict, Verdict::Setup);
        assert_eq!(file.phases, BTreeMap::from([(Phase::Boot, 2.0)]));
    }

    #[test]
    fn a_word_that_is_no_verdict_is_refused() {
        for text in [r#"{"test": "a", "verdict": "green"}"#, r#"{"test": "a"}"#] {
            assert!(serde_json::from_str::<VerdictFile>(text).is_err(), "{text}");
        }
    }
}
