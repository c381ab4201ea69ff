//! Evidence: what is kept of a failure, so that it can be understood later.
//!
//! A failed test, a refused gate, a failed or interrupted boot, a panic, a signal: before the
//! nodes go, all they say is written to a folder, redacted, cut to the test's own time, with a
//! page that shows it. What cannot be had is named there; it never costs the rest.
//!
//! [`settings`](kubenest_base::settings) say where (`KUBENEST_EVIDENCE`) and what is kept out
//! (`KUBENEST_REDACT`).

mod bundle;
mod collect;
mod home;
mod kept;
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
use kubenest_base::{Result, settings::settings};
use kubenest_docker::Docker;
use kubenest_node::node;

pub use self::{
    bundle::aside,
    look::LOOK,
    notebook::{place, unplace},
    occasion::Why,
    panics::words,
    secrets::{hide, redactor},
    signals::{unless_ending, watch},
    subject::Subject,
};
pub use self::{
    kept::Kept,
    killed::finish,
    prune::{KEPT_BUNDLES, KEPT_DAYS, prune},
};

/// Collects what there is of a cluster, kubenest's or kind's, whoever made it; into a folder in
/// `home`, or where the settings say.
///
/// # Errors
/// There is no such cluster, or the bundle cannot be written.
pub async fn of_cluster(docker: &Docker, cluster: &str, home: Option<&Path>) -> Result<Kept> {
    let found = node::found(docker, cluster).await?;
    let nodes: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
    let subject = Subject::of(docker, cluster, &nodes);
    of_subject(&subject, &Why::asked_for(), home).await
}

/// Refuses patterns of the user's that are none, before anything is made.
///
/// # Errors
/// `KUBENEST_REDACT` has one that is no regular expression.
pub fn check() -> Result<()> {
    redact::Redactor::new(settings().redact.as_deref()).map(drop)
}

/// Collects what there is of a cluster, whatever became of a test.
pub async fn of_subject(subject: &Subject, why: &Why, home: Option<&Path>) -> Result<Kept> {
    collect(subject, why, home, PATIENCE).await
}

/// Keeps evidence where something failed; trouble with it must not bury the failure. After a
/// signal that is no longer the caller's to do.
pub async fn keep(subject: &Subject, why: &Why) -> Option<Kept> {
    match unless_ending(collect(subject, why, None, PATIENCE)).await? {
        Ok(kept) => {
            subject.kept();
            Some(kept)
        }
        Err(error) => {
            tracing::warn!("no evidence is kept: {}", error.report());
            None
        }
    }
}

/// As [`keep`], unless something of the cluster failed before and is kept already.
pub async fn keep_once(subject: &Subject, why: &Why) -> Option<Kept> {
    match subject.is_kept() {
        true => None,
        false => keep(subject, why).await,
    }
}
