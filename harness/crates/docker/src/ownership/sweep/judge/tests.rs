//! Which resources a sweep removes, label by label.

use super::*;
use crate::ownership::owner::{Lease, LeaseId};

/// By the engine's clock.
const NOW: u64 = 1_000_000;
const HOUR: u64 = 60 * 60;
const ELSEWHERE: &str = "elsewhere/0-0/1-1";

/// A resource made one hour ago with a lifetime of two hours.
fn thing(kind: Kind, name: &str, labels: &[(&str, &str)]) -> Thing {
    let made = NOW - HOUR;
    let times = [
        (CREATED, made.to_string()),
        (EXPIRES, (made + 2 * HOUR).to_string()),
    ];
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let times = times.map(|(key, value)| (key.to_owned(), value));
    Thing {
        kind,
        id: "id".into(),
        names: vec![name.to_owned()],
        labels: times.into_iter().chain(labels).collect(),
        made: Some(made),
        running: true,
    }
}

fn container(labels: &[(&str, &str)]) -> Thing {
    thing(Kind::Container, "c-worker", labels)
}

fn node(owner: &str) -> Thing {
    container(&[
        (OWNER, owner),
        (CLUSTER, "c"),
        (ROLE, "worker"),
        (BOOT, "1"),
    ])
}

fn guard(owner: &str) -> Thing {
    container(&[(OWNER, owner), (CLUSTER, "c"), (ROLE, GUARD), (BOOT, "1")])
}

fn kept_mark(boot: &str) -> Thing {
    let labels = [(OWNER, "a"), (CLUSTER, "c"), (ROLE, KEPT), (BOOT, boot)];
    thing(Kind::Volume, "kept", &labels)
}

/// A process number above the kernel's highest: dead for certain.
fn dead() -> String {
    let own = Owner::current().to_string();
    let place = own.rsplit_once('/').expect("must have three parts").0;
    format!("{place}/4194305-1")
}

fn alive() -> String {
    Owner::current().to_string()
}

/// The indices of the resources that are to be removed.
fn condemned(scope: Scope<'_>, now: u64, things: &[Thing]) -> Vec<usize> {
    let judge = Judge::new(scope, now, things);
    let condemned = |(at, thing)| judge.condemns(thing).then_some(at);
    things.iter().enumerate().filter_map(condemned).collect()
}

fn goes(scope: Scope<'_>, now: u64, thing: Thing) -> bool {
    !condemned(scope, now, &[thing]).is_empty()
}

#[test]
fn a_dead_owners_things_go_and_a_living_ones_do_not() {
    let late = NOW + 100 * HOUR;
    assert!(goes(Scope::DeadOwners, NOW, node(&dead())));
    assert!(!goes(Scope::DeadOwners, late, node(&alive())));
    let kept = container(&[(OWNER, &dead()), (KEEP, "true")]);
    assert!(!goes(Scope::DeadOwners, NOW, kept));
}

#[test]
fn an_owner_nobody_can_see_is_judged_by_the_date() {
    for owner in [ELSEWHERE, "no owner at all"] {
        assert!(!goes(Scope::DeadOwners, NOW, node(owner)));
        assert!(goes(Scope::DeadOwners, NOW + 2 * HOUR, node(owner)));
        let without = |key: &str, value: Option<&str>| {
            let mut thing = node(owner);
            match value {
                Some(value) => thing.labels.insert(key.into(), value.into()),
                None => thing.labels.remove(key),
            };
            goes(Scope::DeadOwners, NOW + 100 * HOUR, thing)
        };
        assert!(!without(EXPIRES, None));
        assert!(!without(EXPIRES, Some("soon")));
        assert!(!without(CREATED, None));
    }
}

#[test]
fn a_clock_that_is_off_makes_nothing_older() {
    // Dates of a clock that is off: 1970, two hours late, two hours early.
    for off in [0, NOW - 3 * HOUR, NOW + HOUR] {
        let mut thing = node(ELSEWHERE);
        thing.labels.insert(CREATED.into(), off.to_string());
        let expires = off + 2 * HOUR;
        thing.labels.insert(EXPIRES.into(), expires.to_string());
        assert!(!goes(Scope::DeadOwners, NOW, thing.clone()), "{off}");
        assert!(goes(Scope::DeadOwners, NOW + 2 * HOUR, thing), "{off}");
    }
}

#[test]
fn a_guard_that_runs_shows_that_its_owner_lives() {
    let late = NOW + 20 * HOUR;
    let things = [node(ELSEWHERE), guard(ELSEWHERE), node("other/0-0/1-1")];
    assert_eq!(condemned(Scope::DeadOwners, late, &things), [2]);
    let mut stopped = things.clone();
    stopped[1].running = false;
    assert_eq!(condemned(Scope::DeadOwners, late, &stopped), [0, 1, 2]);
    let hanging = condemned(Scope::DeadOwners, NOW + 24 * HOUR, &things);
    assert_eq!(hanging, [0, 1, 2], "after a day it hangs");
}

#[test]
fn a_guard_at_work_is_left_to_its_work() {
    let late = NOW + 20 * HOUR;
    let mut at_work = guard(&dead());
    assert!(!goes(Scope::DeadOwners, late, at_work.clone()));
    // It holds the name of a node that it looks for.
    at_work.labels.insert(NAME.into(), "c-guard".into());
    assert!(!goes(Scope::DeadOwners, late, at_work.clone()));
    assert!(goes(Scope::Cluster("c"), late, at_work.clone()));
    assert!(goes(Scope::All, NOW, at_work.clone()));
    let hanging = NOW + 24 * HOUR;
    assert!(goes(Scope::DeadOwners, hanging, at_work));
    let mut died = guard(&dead());
    died.running = false;
    assert!(goes(Scope::DeadOwners, late, died));
}

#[test]
fn a_run_spares_what_is_kept_and_a_name_does_not() {
    let of_run = |keep| {
        let (owner, run) = (dead(), (RUN, "r"));
        container(&[(OWNER, &owner), run, (CLUSTER, "c"), (KEEP, keep)])
    };
    let (kept, plain) = (of_run("true"), of_run("false"));
    assert!(!goes(Scope::Run("r"), NOW, kept.clone()));
    assert!(goes(Scope::Cluster("c"), NOW, kept.clone()));
    assert!(goes(Scope::All, NOW, kept));
    assert!(goes(Scope::Run("r"), NOW, plain.clone()));
    assert!(!goes(Scope::Run("other"), NOW, plain.clone()));
    assert!(!goes(Scope::Cluster("other"), NOW, plain));
}

#[test]
fn a_run_of_the_same_name_elsewhere_is_another() {
    let of = |owner: &str| {
        let mut thing = node(owner);
        thing.labels.insert(RUN.into(), "r".into());
        thing
    };
    assert!(goes(Scope::Run("r"), NOW, of(&alive())));
    assert!(!goes(Scope::Run("r"), NOW, of(ELSEWHERE)));
    assert!(goes(Scope::Run("r"), NOW + 2 * HOUR, of(ELSEWHERE)));
}

#[test]
fn what_was_left_is_kept_as_long_as_it_is_there() {
    let late = NOW + 100 * HOUR;
    let mut things = [node("a"), kept_mark("1"), kept_mark("2")];
    assert_eq!(condemned(Scope::DeadOwners, late, &things), [2]);
    assert_eq!(condemned(Scope::Cluster("c"), late, &things), [0, 1, 2]);
    // Another cluster of that name.
    things[0].labels.insert(BOOT.into(), "3".into());
    assert_eq!(condemned(Scope::DeadOwners, late, &things), [0, 1, 2]);
}

#[test]
fn labels_that_were_inherited_are_nobodys() {
    let dead = dead();
    let labels = [(OWNER, dead.as_str()), (ROLE, "worker"), (NAME, "c-worker")];
    let own = thing(Kind::Container, "c-worker", &labels);
    let inherited = [
        thing(Kind::Container, "debug", &labels),
        thing(Kind::Image, "debug:1", &labels),
        container(&[(OWNER, &dead), (ROLE, NODE_IMAGE)]),
    ];
    for scope in [Scope::DeadOwners, Scope::Cluster("c"), Scope::All] {
        let in_scope = |mut thing: Thing| {
            thing.labels.insert(CLUSTER.into(), "c".into());
            goes(scope, NOW, thing)
        };
        assert!(in_scope(own.clone()));
        for thing in &inherited {
            assert!(!in_scope(thing.clone()), "{thing:?}");
        }
    }
}

#[test]
fn of_an_image_the_names_go_that_it_was_made_with() {
    let dead = dead();
    let labels = [
        (OWNER, dead.as_str()),
        (ROLE, "small-image"),
        (NAME, "a:1 a:2"),
    ];
    let mut image = thing(Kind::Image, "a:2", &labels);
    image.names.push("users:1".into());
    assert!(goes(Scope::DeadOwners, NOW, image.clone()));
    assert_eq!(image.clone().own_names(), ["a:2"]);
    // An image that was built upon it.
    let built = thing(Kind::Image, "users:1", &labels);
    assert!(!goes(Scope::All, NOW, built));
    image.names.clear();
    assert!(goes(Scope::DeadOwners, NOW, image.clone()));
    assert_eq!(image.own_names(), ["id"]);
    let cached = [(OWNER, dead.as_str()), (ROLE, NODE_IMAGE)];
    assert!(!goes(Scope::All, NOW, thing(Kind::Image, "a:2", &cached)));
}

#[test]
fn what_lacks_our_owner_is_never_covered() {
    let foreign = [(CLUSTER, "c"), (RUN, "r"), ("maintainer", "me")];
    for scope in [
        Scope::All,
        Scope::DeadOwners,
        Scope::Run("r"),
        Scope::Cluster("c"),
    ] {
        for kind in [Kind::Container, Kind::Network, Kind::Volume, Kind::Image] {
            assert!(!goes(scope, NOW + 100 * HOUR, thing(kind, "x", &foreign)));
        }
    }
}

#[test]
fn what_a_lease_owns_is_its_holders_whatever_run_made_it() {
    let cache = tempfile::tempdir().unwrap();
    let lease = Lease::of(cache.path(), LeaseId::new("l").unwrap()).unwrap();
    let owner = Owner::Lease(lease.clone()).to_string();
    let late = NOW + 100 * HOUR;
    let node = || container(&[(OWNER, &owner), (CLUSTER, "c"), (RUN, "r")]);
    let scopes = [Scope::DeadOwners, Scope::Run("r")];
    let holder = lease.hold().unwrap();
    for scope in scopes {
        assert!(!goes(scope, late, node()), "{scope:?}");
    }
    assert!(goes(Scope::Cluster("c"), NOW, node()));
    drop(holder);
    for scope in scopes {
        assert!(goes(scope, NOW, node()), "{scope:?}");
    }
}

#[test]
fn what_a_lease_of_an_unseen_cache_owns_goes_when_it_is_overdue() {
    let cache = tempfile::tempdir().unwrap();
    let lease = Lease::of(cache.path(), LeaseId::new("l").unwrap()).unwrap();
    let owner = Owner::Lease(lease).to_string();
    drop(cache);
    assert!(!goes(Scope::DeadOwners, NOW, node(&owner)));
    assert!(goes(Scope::DeadOwners, NOW + 2 * HOUR, node(&owner)));
}

#[test]
fn what_a_lease_owns_is_spared_while_its_guard_waits_for_another_holder() {
    let cache = tempfile::tempdir().unwrap();
    let lease = Lease::of(cache.path(), LeaseId::new("l").unwrap()).unwrap();
    let owner = Owner::Lease(lease).to_string();
    let things = [node(&owner), guard(&owner)];
    assert_eq!(condemned(Scope::DeadOwners, NOW, &things), [0; 0]);
    let mut killed = things.clone();
    killed[1].running = false;
    assert_eq!(condemned(Scope::DeadOwners, NOW, &killed), [0, 1]);
    // The guard of a process waits for nobody.
    let things = [node(&dead()), guard(&dead())];
    assert_eq!(condemned(Scope::DeadOwners, NOW, &things), [0]);
}
