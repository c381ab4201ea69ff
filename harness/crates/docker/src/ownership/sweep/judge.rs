//! Decides, from data alone, which of the resources with our labels are to be removed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::Scope;
use crate::ownership::{
    labels::{
        BOOT, CLUSTER, CREATED, EXPIRES, GUARD, IMAGE, KEEP, KEPT, NAME, NODE_IMAGE, OWNER, ROLE,
        RUN,
    },
    owner::{Liveness, Owner},
};

/// How long a running guard is trusted: as long as it runs, its owner lives or the guard is
/// removing what that owner left.
const WATCH: Duration = Duration::from_secs(24 * 60 * 60);

/// The kind of a resource in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Container,
    Network,
    Volume,
    Image,
}

/// A resource in the engine.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub(super) kind: Kind,
    /// The id by which the engine removes it.
    pub(super) id: String,
    /// Its names; an image may have several, or none.
    pub(super) names: Vec<String>,
    pub(super) labels: HashMap<String, String>,
    /// When it was made, in seconds since 1970 by the engine's clock.
    pub(super) made: Option<u64>,
    /// Whether it is a container whose first process runs.
    pub(super) running: bool,
}

/// Judges resources by their labels, and by what else the engine has.
pub(super) struct Judge<'a> {
    scope: Scope<'a>,
    now: u64,
    /// Owners and clusters with a running guard.
    guarded: HashSet<[String; 2]>,
    /// Owners, clusters and boots that are kept, though their labels do not say so.
    kept: HashSet<[String; 3]>,
}

impl Thing {
    fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    fn values<const N: usize>(&self, keys: [&str; N]) -> [String; N] {
        keys.map(|key| self.label(key).to_owned())
    }

    fn is_guard(&self) -> bool {
        self.kind == Kind::Container && self.running && self.label(ROLE) == GUARD
    }

    /// Whether it was made with its labels, and did not inherit them from an image or, if it is an
    /// image, from a container.
    pub(super) fn is_ours(&self) -> bool {
        let role = self.label(ROLE);
        let named = |name: &String| self.label(NAME).split(' ').any(|own| own == name);
        // Earlier releases gave no names.
        let named = self.names.iter().any(named) || !self.labels.contains_key(NAME);
        self.labels.contains_key(OWNER)
            && match self.kind {
                // A guard at work holds the names of nodes, to find out whether they are taken.
                Kind::Container => !role.ends_with(IMAGE) && (named || self.is_guard()),
                Kind::Network | Kind::Volume => !role.ends_with(IMAGE),
                Kind::Image => {
                    // An image without a name has lost it to a newer build.
                    role.ends_with(IMAGE) && role != NODE_IMAGE && (named || self.names.is_empty())
                }
            }
    }

    /// Who may end it, where its label says so.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.label(OWNER).parse().ok()
    }

    /// Whether its owner lives, if that can be told.
    fn liveness(&self) -> Liveness {
        let owner = self.owner();
        owner.map_or(Liveness::Unknown, |owner| owner.liveness())
    }

    /// Whether its age, or that of its guard, decides what becomes of it.
    pub(super) fn is_judged_by_date(&self) -> bool {
        self.is_guard() || self.liveness() == Liveness::Unknown
    }

    /// The names that the image was made with, which are to be removed. Other names belong to the
    /// user.
    pub(super) fn own_names(self) -> Vec<String> {
        let Self {
            id, names, labels, ..
        } = self;
        match labels.get(NAME) {
            _ if names.is_empty() => vec![id],
            Some(own) => {
                let own: HashSet<&str> = own.split(' ').collect();
                let of_ours = |name: &String| own.contains(name.as_str());
                names.into_iter().filter(of_ours).collect()
            }
            None => names,
        }
    }

    /// Its age at this moment. A resource that another clock dates later than now is new.
    fn age(&self, now: u64) -> Option<u64> {
        let made = self.made.or_else(|| self.label(CREATED).parse().ok())?;
        Some(now.saturating_sub(made))
    }

    /// Whether it is older than its lifetime. Both labels are of one clock, which may be far off,
    /// so only the time between them counts.
    fn is_overdue(&self, now: u64) -> bool {
        let number = |key| self.label(key).parse::<u64>().ok();
        let lifetime = number(EXPIRES)
            .zip(number(CREATED))
            .map(|(to, from)| to.saturating_sub(from));
        lifetime
            .zip(self.age(now))
            .is_some_and(|(lifetime, age)| lifetime < age)
    }

    fn watches(&self, now: u64) -> bool {
        self.is_guard() && self.age(now).is_some_and(|age| age < WATCH.as_secs())
    }
}

impl<'a> Judge<'a> {
    /// A judge of `things`, which are all resources that `scope` may mean; `now` is by the engine's
    /// clock.
    pub(super) fn new(scope: Scope<'a>, now: u64, things: &[Thing]) -> Self {
        let guards = things.iter().filter(|thing| thing.watches(now));
        let boot = |thing: &Thing| thing.values([OWNER, CLUSTER, BOOT]);
        let containers = things.iter().filter(|thing| thing.kind == Kind::Container);
        let there: HashSet<_> = containers.map(boot).collect();
        let marks = things
            .iter()
            .filter(|thing| thing.kind == Kind::Volume && thing.label(ROLE) == KEPT);
        Self {
            scope,
            now,
            guarded: guards.map(|guard| guard.values([OWNER, CLUSTER])).collect(),
            // The mark of a kept cluster goes after the cluster.
            kept: marks
                .map(boot)
                .filter(|boot| there.contains(boot))
                .collect(),
        }
    }

    /// Whether a resource is to be removed.
    pub(super) fn condemns(&self, thing: &Thing) -> bool {
        thing.is_ours()
            && match self.scope {
                Scope::All => true,
                Scope::Cluster(name) => thing.label(CLUSTER) == name,
                _ if self.is_kept(thing) => false,
                Scope::Run(run) if thing.label(RUN) != run => false,
                Scope::Run(_) => match thing.liveness() {
                    // Another run may hold a lease whose resources this run made.
                    Liveness::Alive => !matches!(thing.owner(), Some(Owner::Lease(_))),
                    Liveness::Dead => true,
                    // Two containers that start in the same second may have the same run name, so
                    // this may be another run.
                    Liveness::Unknown => self.is_abandoned(thing),
                },
                Scope::DeadOwners => match thing.liveness() {
                    Liveness::Alive => false,
                    // Its guard waits for another holder, or is removing what it owns.
                    Liveness::Dead if self.is_guarded_lease(thing) => false,
                    // A guard at work waits for resources that were still being made when its owner
                    // ended, which a sweep cannot see, and then removes itself.
                    Liveness::Dead => !thing.watches(self.now),
                    Liveness::Unknown => self.is_abandoned(thing),
                },
            }
    }

    fn is_kept(&self, thing: &Thing) -> bool {
        let boot = || thing.values([OWNER, CLUSTER, BOOT]);
        thing.label(KEEP) == "true" || (!self.kept.is_empty() && self.kept.contains(&boot()))
    }

    fn is_guarded_lease(&self, thing: &Thing) -> bool {
        self.guarded.contains(&thing.values([OWNER, CLUSTER]))
            && matches!(thing.owner(), Some(Owner::Lease(_)))
    }

    /// Whether a resource is abandoned whose owner cannot be seen from here. A running guard shows
    /// that the owner lives; without one the date decides.
    fn is_abandoned(&self, thing: &Thing) -> bool {
        !self.guarded.contains(&thing.values([OWNER, CLUSTER])) && thing.is_overdue(self.now)
    }
}

#[cfg(test)]
mod tests;
