//! The parts of a test that are timed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A part of a test, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Making what nobody had prepared, and then waiting for a slot.
    Preparing,
    /// Getting the node image. Without a runner this includes building the image if it is missing.
    Image,
    /// Booting the cluster.
    Boot,
    /// Proving the nodes healthy before a case.
    Gate,
    /// The test author's own code.
    Body,
    /// Removing what the case made.
    Cleanup,
    /// From the start of the boot to the gate's refusal, in tests that expect it.
    Refused,
    /// From the start of the boot to the documented failure, in tests that reproduce it.
    Shown,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 8] = [
        Self::Preparing,
        Self::Image,
        Self::Boot,
        Self::Gate,
        Self::Body,
        Self::Cleanup,
        Self::Refused,
        Self::Shown,
    ];

    /// The phase's name in files and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Image => "image",
            Self::Boot => "boot",
            Self::Gate => "gate",
            Self::Body => "body",
            Self::Cleanup => "cleanup",
            Self::Refused => "refused",
            Self::Shown => "shown",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads seconds by phase and drops unknown phases: a test may use a newer release of kubenest than
/// its runner.
pub(crate) fn deserialize_known<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Phase, f64>, D::Error> {
    let by_name = BTreeMap::<String, f64>::deserialize(deserializer)?;
    let known = Phase::ALL.into_iter().filter_map(|phase| {
        let seconds = by_name.get(phase.name())?;
        Some((phase, *seconds))
    });
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_is_listed_and_written_by_its_name() {
        for pair in Phase::ALL.windows(2) {
            assert!(pair[0] < pair[1], "{} before {}", pair[0], pair[1]);
        }
        for phase in Phase::ALL {
            let written = serde_json::to_string(&phase).unwrap();
            assert_eq!(written, format!("{:?}", phase.name()));
        }
    }
}
