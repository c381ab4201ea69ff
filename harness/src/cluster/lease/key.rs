//! The key of a lease: what all specs that share a cluster have in common.

use std::path::PathBuf;

use kubenest_base::{Result, digest::sha256_hex, random};
use kubenest_docker::{Lease, LeaseId, Owner, labels::OWNER};

use super::record::Record;
use crate::cluster::boot::BootJob;

/// Part of every key. It is raised when records change, so that two versions share no cluster.
const FORMAT: &str = "kubenest lease 1";
/// How much of the hash stands in the name of a lease.
const DIGITS: usize = 32;

/// What was done to a cluster before tests got it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Preparation {
    /// Its name.
    pub(super) name: String,
    /// The hash of all that it applied and loaded.
    pub(super) content: String,
}

/// Identifies the lease of a cache that all who ask for the same cluster share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseKey(String);

impl LeaseKey {
    /// The key of a planned cluster; `name` is the one that was asked for.
    pub(super) fn of(job: &BootJob, name: Option<&str>) -> Self {
        let engine = job.site.docker.endpoint().to_string();
        Self::of_parts(&job.plan.key(), &engine, name, None)
    }

    fn of_parts(
        plan: &str,
        engine: &str,
        name: Option<&str>,
        preparation: Option<&Preparation>,
    ) -> Self {
        let preparation = preparation.map(|done| (&done.name, &done.content));
        let parts = serde_json::json!([FORMAT, plan, engine, name, preparation]);
        let mut key = sha256_hex(parts.to_string().as_bytes());
        key.truncate(DIGITS);
        Self(key)
    }

    /// The file by whose lock the kernel decides who boots.
    pub(super) fn lock(&self, job: &BootJob) -> PathBuf {
        let locks = job.site.settings.cache.join("locks");
        locks.join(format!("lease-{}.lock", self.0))
    }

    /// The lease of this key that takes holders, and its record.
    pub(super) fn find(&self, job: &BootJob) -> Result<Option<(Lease, Record)>> {
        for lease in Lease::all(&job.site.settings.cache)? {
            if self.is_of(&lease)
                && let Some(record) = lease.record()
            {
                return Ok(Some((lease, Record::read(&record)?)));
            }
        }
        Ok(None)
    }

    /// The leases of this key that take no holders: their clusters are being made, or are on their
    /// way out.
    pub(super) fn closed(&self, job: &BootJob) -> Result<Vec<Lease>> {
        let all = Lease::all(&job.site.settings.cache)?.into_iter();
        Ok(all
            .filter(|lease| self.is_of(lease) && lease.record().is_none())
            .collect())
    }

    /// Whether a guard of a lease of this key has its name from the cluster of this name.
    pub(super) async fn guards(&self, job: &BootJob, cluster: &str) -> Result<bool> {
        let site = &job.site;
        let guard = site.docker.container(&format!("{cluster}-guard")).await?;
        let owner = guard.and_then(|guard| guard.labels.get(OWNER)?.parse().ok());
        Ok(match owner {
            Some(Owner::Lease(lease)) => lease.cache() == site.settings.cache && self.is_of(&lease),
            _ => false,
        })
    }

    fn is_of(&self, lease: &Lease) -> bool {
        let key = lease.id().as_str().rsplit_once('-').map(|(key, _)| key);
        key == Some(&self.0)
    }

    /// A lease of this key for one boot.
    pub(super) fn new_lease(&self, job: &BootJob) -> Result<Lease> {
        let id = format!("{}-{}", self.0, random::hex(8));
        Lease::of(&job.site.settings.cache, LeaseId::new(id)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_makes_a_cluster_another_is_in_the_key() {
        let prepared = |name: &str, content: &str| Preparation {
            name: name.into(),
            content: content.into(),
        };
        let key = |plan, engine, name, done: Option<Preparation>| {
            LeaseKey::of_parts(plan, engine, name, done.as_ref())
        };
        let keys = [
            key("p", "unix:///e", None, None),
            key("q", "unix:///e", None, None),
            key("p", "unix:///f", None, None),
            key("p", "unix:///e", Some("a"), None),
            key("p", "unix:///e", None, Some(prepared("a", ""))),
            key("p", "unix:///e", None, Some(prepared("a", "b"))),
            key("p", "unix:///e", None, Some(prepared("ab", ""))),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert_eq!(one.0.len(), DIGITS);
            assert_eq!(keys.iter().position(|other| other == one), Some(at));
        }
    }
}
