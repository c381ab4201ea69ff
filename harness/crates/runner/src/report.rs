//! The results of a run: `report.json`.

use chrono::{DateTime, Utc};
use kubenest_protocol::preparing::Node;
use serde::Serialize;

use crate::making::Preparation;
use crate::nodes::Inapplicable;
use crate::saved::GateSaving;
use crate::test_report::TestReport;
use crate::totals::Totals;

/// A whole run, as `report.json` holds it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) run: String,
    pub(crate) started: DateTime<Utc>,
    /// Wall-clock seconds of all tests, without the build and the preparation.
    pub(crate) seconds: f64,
    /// What was made for the tests before they ran.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) preparing: Vec<Preparation>,
    /// The nodes of a run on several, each a column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) nodes: Vec<Node>,
    /// Where tests do not apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) inapplicable: Vec<Inapplicable>,
    pub(crate) exit_code: u8,
    pub(crate) totals: Totals,
    /// The requests for which no test ran, as "suite affected" or "suite::text".
    pub(crate) nothing_ran: Vec<String>,
    pub(crate) failures: Vec<GateSaving>,
    pub(crate) tests: Vec<TestReport>,
}

#[cfg(test)]
pub(crate) mod tests {
    use kubenest_protocol::exit;

    use super::*;
    use crate::test_report::tests::{at, results};

    pub(crate) fn report() -> Report {
        let tests = results();
        Report {
            run: "20260101-000000-1".to_owned(),
            started: at(0),
            seconds: 126.75,
            preparing: vec![],
            nodes: vec![],
            inapplicable: vec![],
            exit_code: exit::SETUP_FAILED,
            totals: Totals::of(&tests, 0),
            nothing_ran: vec![],
            failures: vec![],
            tests,
        }
    }
}
