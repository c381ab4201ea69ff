//! What this process knows to be secret.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use super::redact::{Redactor, secrets_in};
use kubenest_base::{Result, settings::Settings};

/// The values of all Secrets that this process saw; they are never written down.
static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Adds the values of Secrets, and returns all known values. They are kept for the whole process,
/// because a log may outlive its namespace, and an error message its cluster.
pub(super) fn learn(secrets: BTreeSet<String>) -> BTreeSet<String> {
    let mut known = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(secrets);
    known.clone()
}

/// Records the values of the Secrets among these documents, so that this process never shows them.
pub fn hide<'a>(documents: impl IntoIterator<Item = &'a serde_json::Value>) {
    learn(secrets_in(documents));
}

/// A redactor of all that this process knows to be secret, and of the user's patterns.
///
/// # Errors
/// A pattern in `KUBENEST_REDACT` is no regular expression.
pub fn redactor(settings: &Settings) -> Result<Redactor> {
    with_patterns(settings.redact.as_deref())
}

/// A redactor of all that this process knows to be secret, and of these patterns.
pub(super) fn with_patterns(patterns: Option<&str>) -> Result<Redactor> {
    let known = learn(BTreeSet::new());
    Ok(Redactor::new(patterns)?.hiding(&known))
}
