//! Decides whether an error that ended a body is a test failure or a broken set-up.

use kubenest_base::{Error, ErrorKind, Origin};
use kubenest_protocol::Verdict;

/// The verdict on a body's error: the outermost error of kubenest in its chain decides; without one
/// the test failed.
pub(super) fn verdict_of(error: &anyhow::Error) -> Verdict {
    match own_error(error).map(Error::origin) {
        Some(Origin::Harness) => Verdict::Setup,
        Some(Origin::Test) | None => Verdict::Failed,
    }
}

/// The reason for keeping evidence.
pub(super) fn reason(error: &anyhow::Error) -> &'static str {
    match (verdict_of(error), own_error(error).map(Error::kind)) {
        (Verdict::Setup, _) => "harness failed",
        (_, Some(ErrorKind::Timeout)) => "timed out",
        _ => "test failed",
    }
}

/// The outermost error of kubenest in the chain.
fn own_error(error: &anyhow::Error) -> Option<&Error> {
    error.chain().find_map(|link| link.downcast_ref())
}

#[cfg(test)]
mod tests;
