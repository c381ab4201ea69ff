//! What is known of a test when its process has ended.

use kubenest_protocol::{Verdict, VerdictFile};

use crate::bundle::Bundle;
use crate::place::Place;

/// How a test ended, and what the library said about it.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Why it did not pass.
    pub(crate) message: Option<String>,
    pub(crate) files: Vec<VerdictFile>,
    /// What was collected of it.
    pub(crate) evidence: Vec<Bundle>,
    /// Where it failed in the sources.
    pub(crate) place: Option<Place>,
}
