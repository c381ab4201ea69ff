//! Evidence of a failure, kept so that the failure can be understood later.
//!
//! It is collected after a failed test, a refused gate, a failed or interrupted boot, a panic or a
//! signal, before the nodes are removed. All that the nodes say is written to a folder, redacted
//! and cut to the test's own time, with a page that shows it. The page names what could not be
//! collected; that never costs the rest.
//!
//! [`Settings`] name the folder (`KUBENEST_EVIDENCE`) and the patterns that are redacted
//! (`KUBENEST_REDACT`).

mod bundle;
mod collect;
mod folder;
mod home;
mod killed;
mod look;
mod notebook;
mod notes;
mod occasion;
pub mod page;
mod panics;
mod part;
mod prune;
pub mod redact;
mod secrets;
mod signals;
mod subject;
mod timeline;
mod writer;

use std::path::Path;

use self::collect::{PATIENCE, collect};
use kubenest_base::{Result, settings::Settings};
use kubenest_docker::Docker;
use kubenest_node::node;

pub use self::{
    bundle::Bundle,
    killed::{finish, finish_holders},
    prune::{KEPT_BUNDLES, KEPT_DAYS, prune},
};
pub use self::{
    folder::temporary_home,
    look::LOOK,
    notebook::{notebook_folder, remove_empty_notebook},
    occasion::Occasion,
    panics::panic_message,
    secrets::{hide, redactor},
    signals::{unless_ending, watch},
    subject::Subject,
};

/// Collects evidence of any cluster of kubenest or kind by its name, also one of another process.
/// The bundle goes into a folder in `home`, or where the settings of `docker` say.
///
/// # Errors
/// There is no such cluster, or the bundle cannot be written.
pub async fn of_cluster(docker: &Docker, cluster: &str, home: Option<&Path>) -> Result<Bundle> {
    let found = node::found(docker, cluster).await?;
    let nodes: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
    let subject = Subject::of(docker, cluster, &nodes);
    of_subject(&subject, &Occasion::asked_for(), home).await
}

/// Checks the user's redaction patterns before anything is made.
///
/// # Errors
/// A pattern in `KUBENEST_REDACT` is no regular expression.
pub fn check(settings: &Settings) -> Result<()> {
    redact::Redactor::new(settings.redact.as_deref()).map(drop)
}

/// Collects evidence of a cluster or a case, also where nothing failed.
pub async fn of_subject(subject: &Subject, why: &Occasion, home: Option<&Path>) -> Result<Bundle> {
    collect(subject, why, home, PATIENCE).await
}

/// Collects evidence of a failure. An error of the collection is only logged, so that it does not
/// hide the failure. After a signal the signal's handler writes the bundles, and this function
/// returns `None`.
pub async fn keep(subject: &Subject, why: &Occasion) -> Option<Bundle> {
    match unless_ending(collect(subject, why, None, PATIENCE)).await? {
        Ok(kept) => {
            subject.note_kept();
            Some(kept)
        }
        Err(error) => {
            tracing::warn!("no evidence is kept: {}", error.report());
            None
        }
    }
}

/// As [`keep`], unless an earlier failure on this cluster has a bundle already.
pub async fn keep_once(subject: &Subject, why: &Occasion) -> Option<Bundle> {
    match subject.is_kept() {
        true => None,
        false => keep(subject, why).await,
    }
}
