//! Red or broken: whether an error that ended a body is the test's or the harness'.

use kubenest_base::{Error, ErrorKind, Origin};
use kubenest_protocol::Verdict;

/// What an error that a body returned says of the test: the outermost of kubenest's in its chain
/// says whose it is, and one that has none is the test's.
pub(super) fn verdict_of(error: &anyhow::Error) -> Verdict {
    match own_error(error).map(Error::origin) {
        Some(Origin::Harness) => Verdict::Setup,
        Some(Origin::Test) | None => Verdict::Failed,
    }
}

/// Why evidence of it is kept.
pub(super) fn reason(error: &anyhow::Error) -> &'static str {
    match (verdict_of(error), own_error(error).map(Error::kind)) {
        (Verdict::Setup, _) => "harness failed",
        (_, Some(ErrorKind::Timeout)) => "timed out",
        _ => "test failed",
    }
}

/// The error of kubenest's that a body handed on, whatever was put around it.
fn own_error(error: &anyhow::Error) -> Option<&Error> {
    error.chain().find_map(|link| link.downcast_ref())
}

#[cfg(test)]
mod tests;
