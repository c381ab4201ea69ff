//! How the programs of the examples tell an error.

/// The error with cure and evidence, which only kubenest's own errors have.
pub(crate) fn report(error: &anyhow::Error) -> String {
    match error.downcast_ref::<kubenest::Error>() {
        Some(error) => error.report(),
        None => format!("{error:#}"),
    }
}
