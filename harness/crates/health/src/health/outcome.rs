//! The outcome of one check.

use super::report::{Finding, Verdict};

/// The judgement of a check, not yet tied to a node.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) observed: String,
    pub(crate) verdict: Verdict,
    pub(crate) cure: Option<String>,
}

impl Outcome {
    pub(crate) fn passed(observed: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            verdict: Verdict::Passed,
            cure: None,
        }
    }

    pub(crate) fn failed(observed: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            verdict: Verdict::Failed,
            cure: Some(cure.into()),
        }
    }

    pub(crate) fn skipped(observed: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            verdict: Verdict::Skipped(reason.into()),
            cure: None,
        }
    }

    /// The outcome when nothing could be observed, for this reason.
    pub(crate) fn unknown(why: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            observed: why.into(),
            verdict: Verdict::Unknown,
            cure: Some(cure.into()),
        }
    }

    /// Passed if the condition holds, else failed.
    pub(crate) fn when(ok: bool, observed: impl Into<String>, cure: impl Into<String>) -> Self {
        if ok {
            Self::passed(observed)
        } else {
            Self::failed(observed, cure)
        }
    }

    pub(crate) fn on(self, node: &str, name: &str) -> Finding {
        let Self {
            observed,
            verdict,
            cure,
        } = self;
        Finding {
            name: name.to_owned(),
            node: node.to_owned(),
            observed,
            verdict,
            cure,
        }
    }
}
