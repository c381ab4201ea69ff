//! Leases and their holders, of this process and of one that is killed.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::*;
use crate::Owner;

fn lease(cache: &Path) -> Lease {
    Lease::of(cache, LeaseId::new("a").unwrap()).unwrap()
}

#[test]
fn a_lease_survives_the_way_through_a_label() {
    let cache = tempfile::tempdir().unwrap();
    let lease = lease(cache.path());
    let owner = Owner::Lease(lease.clone());
    assert_eq!(owner.to_string().parse(), Ok(owner));
    for text in [
        "lease/a/0a1b2c3d/1-2",
        "lease/../0a1b2c3d/1-2/c",
        "lease/a/0a1b2c3d/1/c",
        "lease/a/0a1b2c3d/1-+2/c",
        "lease/a/0a1b2c3d/1-2//c",
        "leases/a/0a1b2c3d/1-2/c",
    ] {
        assert_eq!(text.parse::<Owner>(), Err(()), "{text}");
    }
}

#[test]
fn a_process_is_no_lease_even_on_a_host_of_that_name() {
    for text in ["lease/0a1b2c3d-1/1-1", "elsewhere/0a1b2c3d-1/1-1"] {
        let owner = text.parse::<Owner>();
        assert!(matches!(owner, Ok(Owner::Process(_))), "{owner:?}");
    }
}

#[test]
fn a_lease_that_is_held_alone_has_no_other_such_holder() {
    let cache = tempfile::tempdir().unwrap();
    let lease = lease(cache.path());
    let one = lease.hold_alone().unwrap();
    assert!(one.is_some());
    assert!(lease.hold_alone().unwrap().is_none());
    drop(one);
    assert_eq!(lease.liveness(), Liveness::Dead);
    assert!(lease.hold_alone().unwrap().is_some());
    lease.end("the test is over").unwrap();
    let ended = lease.hold_alone().map(drop).unwrap_err();
    assert_eq!(ended.kind(), kubenest_base::ErrorKind::NotFound);
    lease.forget();
    assert!(lease.hold_alone().is_err());
}

#[test]
fn only_a_lease_that_somebody_has_left_is_given_up() {
    let cache = tempfile::tempdir().unwrap();
    let lease = lease(cache.path());
    assert!(!lease.is_given_up(), "it is just being made");
    let hold = lease.hold().unwrap();
    assert!(!lease.is_given_up(), "it is held");
    drop(hold);
    // As after a kill: the kernel lets go, and the file stays.
    fs::write(lease.folder().join("1-dead.holder"), "").unwrap();
    assert!(lease.is_given_up());
    lease.settle(b"{}").unwrap();
    assert!(!lease.is_given_up(), "it waits for others");
    lease.end("the test is over").unwrap();
    assert!(lease.is_given_up());
}

#[test]
fn a_lease_lives_until_the_last_of_its_holders_lets_go() {
    let cache = tempfile::tempdir().unwrap();
    let lease = lease(cache.path());
    assert_eq!(lease.liveness(), Liveness::Dead);
    let (one, other) = (lease.hold().unwrap(), lease.hold().unwrap());
    assert_eq!(lease.liveness(), Liveness::Alive);
    drop(one);
    assert_eq!(lease.liveness(), Liveness::Alive);
    drop(other);
    assert_eq!(lease.liveness(), Liveness::Dead);
    // As when what was left of it has been cleared away.
    lease.forget();
    assert_eq!(lease.liveness(), Liveness::Dead);
    assert_eq!(lease.state(), LeaseState::default());
}

#[test]
fn a_lease_that_has_ended_takes_no_holders_and_keeps_those_that_it_has() {
    let cache = tempfile::tempdir().unwrap();
    let lease = lease(cache.path());
    let holder = lease.hold().unwrap();
    assert!(!lease.end_unless_held("nobody needs it").unwrap());
    lease.settle(b"{}").unwrap();
    assert_eq!(lease.record().as_deref(), Some(&b"{}"[..]));
    lease.end("a node is gone").unwrap();
    let late = lease.hold().unwrap_err();
    assert_eq!(late.to_string(), "lease 'a' has ended");
    assert_eq!(late.kind(), kubenest_base::ErrorKind::NotFound);
    assert_eq!(lease.record(), None);
    let state = LeaseState {
        holders: vec![std::process::id()],
        idle: None,
        ended: Some("a node is gone".into()),
    };
    assert_eq!(lease.state(), state);
    assert_eq!(lease.liveness(), Liveness::Alive);
    drop(holder);
    assert!(lease.end_unless_held("swept").unwrap());
    assert_eq!(lease.state().ended.as_deref(), Some("a node is gone"));
    lease.forget();
    assert!(lease.hold().is_err(), "its folder is gone");
    assert!(lease.end_unless_held("swept").unwrap());
}

#[test]
fn who_comes_while_a_lease_is_being_ended_waits_for_the_decision() {
    let cache = tempfile::tempdir().unwrap();
    let lease = lease(cache.path());
    let gate = File::open(lease.folder().join(GATE)).unwrap();
    gate.lock().unwrap();
    assert!(!lease.end_unless_held("swept").unwrap(), "another decides");
    let comes = std::thread::spawn({
        let lease = lease.clone();
        move || lease.hold().map(drop)
    });
    fs::write(lease.folder().join(ENDED), "").unwrap();
    drop(gate);
    assert!(comes.join().unwrap().is_err());
}

#[test]
fn the_leases_of_a_cache_are_those_that_can_be_held() {
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(Lease::all(cache.path()).unwrap(), []);
    let lease = lease(cache.path());
    fs::create_dir(lease.leases().join("left")).unwrap();
    assert_eq!(Lease::all(cache.path()).unwrap(), [lease]);
}

#[test]
fn one_lease_lives_without_the_other() {
    let cache = tempfile::tempdir().unwrap();
    let other = Lease::of(cache.path(), LeaseId::new("b").unwrap()).unwrap();
    let _holder = other.hold().unwrap();
    assert_eq!(lease(cache.path()).liveness(), Liveness::Dead);
}

#[test]
fn who_looks_at_a_lease_is_not_taken_for_a_holder() {
    let cache = tempfile::tempdir().unwrap();
    let lease = lease(cache.path());
    let left = lease.folder().join("1-00").with_extension(HOLDER);
    let looking = File::create(&left).unwrap();
    looking.lock_shared().unwrap();
    assert_eq!(lease.liveness(), Liveness::Dead);
}

#[test]
fn nothing_is_said_about_a_cache_that_is_not_in_sight() {
    let cache = tempfile::tempdir().unwrap();
    let lease = lease(cache.path());
    // Another folder is there under its path, as in another container.
    let elsewhere = Lease {
        inode: lease.inode + 1,
        ..lease.clone()
    };
    let gone = Lease {
        cache: cache.path().join("gone"),
        ..lease.clone()
    };
    let of_another_boot = Lease {
        boot: "00000000".into(),
        ..lease.clone()
    };
    for unseen in [elsewhere, gone, of_another_boot] {
        assert_eq!(unseen.liveness(), Liveness::Unknown, "{unseen}");
    }
    // Where nothing tells which boot this is, two machines could seem to be one.
    let nowhere = Lease {
        boot: String::new(),
        ..lease
    };
    assert!(!nowhere.is_in_sight(cache.path()));
}

#[test]
fn a_name_that_leads_elsewhere_is_no_id() {
    for text in ["", ".", "..", "a/b", "a b", &"a".repeat(65)] {
        assert!(LeaseId::new(text).is_err(), "{text}");
    }
    assert_eq!(LeaseId::new("3f-a_9").unwrap().as_str(), "3f-a_9");
}

#[test]
#[ignore = "run by the test below"]
fn one_that_holds_a_lease_until_it_is_killed() {
    let cache = std::env::current_dir().unwrap();
    let _holder = lease(&cache).hold().unwrap();
    eprintln!("\nheld");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_lease_dies_with_a_holder_that_is_killed() {
    let cache = tempfile::tempdir().unwrap();
    let name = "ownership::owner::lease::tests::one_that_holds_a_lease_until_it_is_killed";
    #[expect(
        clippy::disallowed_methods,
        reason = "it has to be killed from outside"
    )]
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args([name, "--exact", "--ignored", "--nocapture"]);
    other.current_dir(cache.path()).stdin(Stdio::piped());
    let mut other = other.stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(other.stderr.take().unwrap()).lines();
    assert!(said.map_while(io::Result::ok).any(|line| line == "held"));

    let lease = lease(cache.path());
    assert_eq!(lease.liveness(), Liveness::Alive);
    let own = lease.hold().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(lease.liveness(), Liveness::Alive);
    drop(own);
    assert_eq!(lease.liveness(), Liveness::Dead);
    let left = fs::read_dir(lease.folder()).unwrap().count();
    assert_eq!(
        left, 2,
        "the gate, and the file of the killed holder is still there"
    );
}
