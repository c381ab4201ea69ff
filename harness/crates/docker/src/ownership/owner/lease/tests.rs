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
    fs::remove_dir(lease.folder()).unwrap();
    assert_eq!(lease.liveness(), Liveness::Dead);
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
    assert_eq!(left, 1, "the file of the killed holder is still there");
}
