//! What is known of a test when its process has ended.

use kubenest_protocol::{Demand, Verdict, VerdictFile};

use crate::bundle::Bundle;
use crate::place::Place;

/// How a test ended, and what the library said about the test.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Why it did not pass.
    pub(crate) message: Option<String>,
    pub(crate) files: Vec<VerdictFile>,
    /// What the test asked for.
    pub(crate) demands: Vec<Demand>,
    /// The evidence bundles of the test.
    pub(crate) evidence: Vec<Bundle>,
    /// Where in the sources the test failed.
    pub(crate) place: Option<Place>,
}

impl Outcome {
    /// The outcome of a test about which nothing else is known.
    pub(crate) fn new(verdict: Verdict, message: Option<String>) -> Self {
        Self {
            verdict,
            message,
            files: vec![],
            demands: vec![],
            evidence: vec![],
            place: None,
        }
    }
}
