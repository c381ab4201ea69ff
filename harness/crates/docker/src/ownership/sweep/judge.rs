//! Which of the things that bear our labels are to go; decided by data alone.

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

/// How long a running guard is believed: its owner lives, or it is removing what that left.
const WATCH: Duration = Duration::from_secs(24 * 60 * 60);

/// What kind of thing the engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Container,
    Network,
    Volume,
    Image,
}

/// A thing in the engine.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub(super) kind: Kind,
    /// By which the engine removes it.
    pub(super) id: String,
    /// Its names; an image may have several, or none.
    pub(super) names: Vec<String>,
    pub(super) labels: HashMap<String, String>,
    /// When it came to be, in seconds since 1970 by the engine's clock.
    pub(super) made: Option<u64>,
    /// A container whose first process runs.
    pub(super) running: bool,
}

/// Judges things by their labels, and by what else the engine has.
pub(super) struct Judge<'a> {
    scope: Scope<'a>,
    now: u64,
    /// Owners and clusters with a guard that runs.
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

    /// Whether it was made with its labels, and has not inherited them from an image or, as an
    /// image, from a container.
    pub(super) fn is_ours(&self) -> bool {
        let role = self.label(ROLE);
        let named = |name: &String| self.label(NAME).split(' ').any(|own| own == name);
        // Earlier releases gave no names.
        let named = self.names.iter().any(named) || !self.labels.contains_key(NAME);
        self.labels.contains_key(OWNER)
            && match self.kind {
                // A guard at work takes the names of nodes, to see whether they are taken.
                Kind::Container => !role.ends_with(IMAGE) && (named || self.is_guard()),
                Kind::Network | Kind::Volume => !role.ends_with(IMAGE),
                Kind::Image => {
                    // One without a name has lost it to a newer build.
                    role.ends_with(IMAGE) && role != NODE_IMAGE && (named || self.names.is_empty())
                }
            }
    }

    /// Who may end it, where its label says so.
    fn owner(&self) -> Option<Owner> {
        self.label(OWNER).parse().ok()
    }

    /// Whether its owner lives, if that can be told.
    fn liveness(&self) -> Liveness {
        let owner = self.owner();
        owner.map_or(Liveness::Unknown, |owner| owner.liveness())
    }

    /// Whether it depends on its age, or that of its guard, what becomes of it.
    pub(super) fn is_judged_by_date(&self) -> bool {
        self.is_guard() || self.liveness() == Liveness::Unknown
    }

    /// What of an image has to be removed: the names that it was made with. Others are the user's.
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

    /// Its age at this moment. What was made later, by another clock, is new.
    fn age(&self, now: u64) -> Option<u64> {
        let made = self.made.or_else(|| self.label(CREATED).parse().ok())?;
        Some(now.saturating_sub(made))
    }

    /// Whether it is older than it was meant to get. Both labels are of one clock, which may be
    /// far off: only the time between them counts.
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
    /// A judge of `things`, which are all that `scope` may mean; `now` is by the engine's clock.
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
            // What says of a cluster that it is kept goes after it.
            kept: marks
                .map(boot)
                .filter(|boot| there.contains(boot))
                .collect(),
        }
    }

    /// Whether a thing is to go.
    pub(super) fn condemns(&self, thing: &Thing) -> bool {
        thing.is_ours()
            && match self.scope {
                Scope::All => true,
                Scope::Cluster(name) => thing.label(CLUSTER) == name,
                _ if self.is_kept(thing) => false,
                Scope::Run(run) if thing.label(RUN) != run => false,
                Scope::Run(_) => match thing.liveness() {
                    // Others than this run may hold a lease whose things it made.
                    Liveness::Alive => !matches!(thing.owner(), Some(Owner::Lease(_))),
                    Liveness::Dead => true,
                    // Containers that begin in one second may have one run; this is another's.
                    Liveness::Unknown => self.is_abandoned(thing),
                },
                Scope::DeadOwners => match thing.liveness() {
                    Liveness::Alive => false,
                    // A guard at work waits for what was being made when its owner ended, of
                    // which a sweep sees nothing, and removes itself.
                    Liveness::Dead => !thing.watches(self.now),
                    Liveness::Unknown => self.is_abandoned(thing),
                },
            }
    }

    fn is_kept(&self, thing: &Thing) -> bool {
        let boot = || thing.values([OWNER, CLUSTER, BOOT]);
        thing.label(KEEP) == "true" || (!self.kept.is_empty() && self.kept.contains(&boot()))
    }

    /// Of an owner that nobody here can see: a guard that runs shows that it lives, and without
    /// one the date decides.
    fn is_abandoned(&self, thing: &Thing) -> bool {
        !self.guarded.contains(&thing.values([OWNER, CLUSTER])) && thing.is_overdue(self.now)
    }
}

#[cfg(test)]
mod tests;
