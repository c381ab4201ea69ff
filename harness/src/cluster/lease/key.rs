//! The key of a lease: what all specs that share a cluster have in common.

use std::{fmt, path::PathBuf};

use kubenest_base::{Result, digest::sha256_hex, random};
use kubenest_docker::{Lease, LeaseId, Owner, labels::OWNER};

use super::record::Record;
use crate::cluster::boot::BootJob;

/// Part of every key. It is raised when records change, so that two versions share no cluster.
const FORMAT: &str = "kubenest lease 5";
/// How much of each hash stands in the name of a lease.
const DIGITS: usize = 20;

/// Identifies the leases of a cache whose clusters are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseKey {
    /// What was asked for, apart from the content of the preparation.
    kind: String,
    /// The content of the preparation, which may change from one run to the next.
    content: String,
}

/// What is asked for beside the plan.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// The name, if one was asked for.
    pub(super) name: Option<&'a str>,
    /// The preparation's name and the hash of its content.
    pub(super) preparation: Option<(&'a str, &'a str)>,
    /// Whether one test at a time has the cluster.
    pub(super) exclusive: bool,
}

impl LeaseKey {
    /// The key of a planned cluster.
    pub(super) fn of(job: &BootJob, wanted: Wanted<'_>) -> Self {
        let engine = job.site.docker.endpoint().to_string();
        Self::of_parts(&job.plan.key(), &engine, wanted)
    }

    fn of_parts(plan: &str, engine: &str, wanted: Wanted<'_>) -> Self {
        let Wanted {
            name,
            preparation,
            exclusive,
        } = wanted;
        let (preparation, content) = preparation.unzip();
        let kind = serde_json::json!([FORMAT, plan, engine, name, preparation, exclusive]);
        let short = |text: &str| sha256_hex(text.as_bytes())[..DIGITS].to_owned();
        Self {
            kind: short(&kind.to_string()),
            content: short(content.unwrap_or_default()),
        }
    }

    /// The file by whose lock the kernel decides who boots.
    pub(super) fn lock(&self, job: &BootJob) -> PathBuf {
        let locks = job.site.settings.cache.join("locks");
        locks.join(format!("lease-{self}.lock"))
    }

    /// The leases of this key that take holders, and their records.
    pub(super) fn open(&self, job: &BootJob) -> Result<Vec<(Lease, Record)>> {
        let all = self.leases(job, |key| *key == *self)?.into_iter();
        all.filter_map(|lease| {
            let record = lease.record()?;
            Some(Record::read(&record).map(|record| (lease, record)))
        })
        .collect()
    }

    /// The leases of this key that take no holders: their clusters are being made, or are on their
    /// way out.
    pub(super) fn closed(&self, job: &BootJob) -> Result<Vec<Lease>> {
        let mut all = self.leases(job, |key| *key == *self)?;
        all.retain(|lease| lease.record().is_none());
        Ok(all)
    }

    /// The leases of clusters that were prepared with what the preparation of this name was before.
    pub(super) fn outdated(&self, job: &BootJob) -> Result<Vec<Lease>> {
        self.leases(job, |key| {
            key.kind == self.kind && key.content != self.content
        })
    }

    fn leases(&self, job: &BootJob, is_wanted: impl Fn(&Self) -> bool) -> Result<Vec<Lease>> {
        let mut all = Lease::all(&job.site.settings.cache)?;
        all.retain(|lease| Self::of_lease(lease).is_some_and(|key| is_wanted(&key)));
        Ok(all)
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
        Self::of_lease(lease).is_some_and(|key| key == *self)
    }

    /// The key in the id of a lease.
    fn of_lease(lease: &Lease) -> Option<Self> {
        let mut parts = lease.id().as_str().split('-').map(str::to_owned);
        let (kind, content) = (parts.next()?, parts.next()?);
        Some(Self { kind, content })
    }

    /// A lease of this key for one boot.
    pub(super) fn new_lease(&self, job: &BootJob) -> Result<Lease> {
        let id = format!("{self}-{}", random::hex(8));
        Lease::of(&job.site.settings.cache, LeaseId::new(id)?)
    }
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind, self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_makes_a_cluster_another_is_in_the_key() {
        let plain = Wanted::default();
        let named = Wanted {
            name: Some("a"),
            ..plain
        };
        let alone = Wanted {
            exclusive: true,
            ..plain
        };
        let prepared = |name, content| Wanted {
            preparation: Some((name, content)),
            ..plain
        };
        let keys = [
            LeaseKey::of_parts("p", "unix:///e", plain),
            LeaseKey::of_parts("q", "unix:///e", plain),
            LeaseKey::of_parts("p", "unix:///f", plain),
            LeaseKey::of_parts("p", "unix:///e", named),
            LeaseKey::of_parts("p", "unix:///e", alone),
            LeaseKey::of_parts("p", "unix:///e", prepared("a", "")),
            LeaseKey::of_parts("p", "unix:///e", prepared("a", "b")),
            LeaseKey::of_parts("p", "unix:///e", prepared("ab", "")),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == one), Some(at));
        }
        assert_eq!(keys[5].kind, keys[6].kind, "only its content is another");
    }

    #[test]
    fn a_lease_says_its_key() {
        let cache = tempfile::tempdir().unwrap();
        let key = LeaseKey::of_parts("p", "unix:///e", Wanted::default());
        let id = LeaseId::new(format!("{key}-{}", random::hex(8))).unwrap();
        let lease = Lease::of(cache.path(), id).unwrap();
        assert_eq!(LeaseKey::of_lease(&lease), Some(key));
    }
}
