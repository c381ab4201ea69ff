//! Evidence: what is kept of a failure, so that it can be understood later.
//!
//! A failed test, a refused gate, a failed or interrupted boot, a panic, a signal: before the
//! nodes go, all they say is written to a folder, redacted, cut to the test's own time, with a
//! page that shows it. What cannot be had is named there; it never costs the rest.
//!
//! [`settings`](crate::settings) say where (`KUBENEST_EVIDENCE`) and what is kept out
//! (`KUBENEST_REDACT`).

mod bundle;
mod collect;
mod killed;
mod look;
pub mod page;
pub mod redact;
mod signals;
mod subject;
mod timeline;

use std::path::Path;

use self::collect::{PATIENCE, collect};
use crate::{Result, docker::Docker, node, settings::settings};

pub use self::{
    bundle::{KEPT_BUNDLES, KEPT_DAYS, prune},
    collect::Kept,
    killed::finish,
};
pub(crate) use self::{
    collect::Why,
    killed::{forget as unprepare, prepare},
    look::LOOK,
    signals::watch,
    subject::Subject,
};

/// Collects what there is of a cluster, kubenest's or kind's, whoever made it; into a folder in
/// `home`, or where the settings say.
///
/// # Errors
/// There is no such cluster, or the bundle cannot be written.
pub async fn of_cluster(docker: &Docker, cluster: &str, home: Option<&Path>) -> Result<Kept> {
    let found = node::found(docker, cluster).await?;
    let nodes: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
    let mut subject = Subject::of(docker, cluster, &nodes);
    if let Some(home) = home {
        subject = subject.kept_in(home);
    }
    of_subject(&subject).await
}

/// Refuses patterns of the user's that are none, before anything is made.
///
/// # Errors
/// `KUBENEST_REDACT` has one that is no regular expression.
pub(crate) fn check() -> Result<()> {
    redact::Redactor::new(settings().redact.as_deref()).map(drop)
}

/// Collects what there is of a cluster of this process.
pub(crate) async fn of_subject(subject: &Subject) -> Result<Kept> {
    collect(subject, &Why::asked_for(), PATIENCE).await
}

/// Keeps evidence where something failed; trouble with it must not bury the failure.
pub(crate) async fn keep(subject: &Subject, why: &Why) -> Option<Kept> {
    match collect(subject, why, PATIENCE).await {
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
pub(crate) async fn keep_once(subject: &Subject, why: &Why) -> Option<Kept> {
    match subject.known().kept {
        true => None,
        false => keep(subject, why).await,
    }
}
