//! What is known of a test when its process has ended.

use kubenest_protocol::{Demand, Verdict, VerdictFile};

use crate::bundle::Bundle;
use crate::place::Place;

/// How a test ended, and what the library said about it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Why it did not pass.
    pub(crate) message: Option<String>,
    pub(crate) files: Vec<VerdictFile>,
    /// What it asked for.
    pub(crate) demands: Vec<Demand>,
    /// What was collected of it.
    pub(crate) evidence: Vec<Bundle>,
    /// Where it failed in the sources.
    pub(crate) place: Option<Place>,
}

impl Outcome {
    /// Of a test of which nothing else is known.
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
