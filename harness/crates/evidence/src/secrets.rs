//! What this process knows to be secret.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use super::redact::{Redactor, secrets_in};
use kubenest_base::{Result, settings::settings};

/// What Secrets that this process saw hold; it is never written down.
static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Adds what Secrets hold, and returns all that is known of them: a log may outlive its
/// namespace, and a test's words its cluster.
pub(super) fn learn(secrets: BTreeSet<String>) -> BTreeSet<String> {
    let mut known = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(secrets);
    known.clone()
}

/// Notes what the Secrets among these documents hold, so that this process never shows it.
pub fn hide<'a>(documents: impl IntoIterator<Item = &'a serde_json::Value>) {
    learn(secrets_in(documents));
}

/// Takes out all that this process knows to be secret.
///
/// # Errors
/// `KUBENEST_REDACT` has a pattern that is none.
pub fn redactor() -> Result<Redactor> {
    let known = learn(BTreeSet::new());
    Ok(Redactor::new(settings().redact.as_deref())?.hiding(&known))
}
