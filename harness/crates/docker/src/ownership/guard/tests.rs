//! What a guard is given, and what it is kept from.

use kubenest_base::settings::Settings;

use super::*;
use crate::ownership::{labels::NAME, owner::LeaseId};

fn body_of_ward(ward: &Ward<'_>, folders: Folders<'_>) -> ContainerCreateBody {
    let own = Labels::new(GUARD, &Settings::from_env().run);
    body(own, "image", ward, Path::new("/run/e.sock"), folders).unwrap()
}

fn body_of(boot: &BootId) -> ContainerCreateBody {
    body_of_ward(&Ward::new("a", boot), Folders::default())
}

fn variable(body: ContainerCreateBody, name: &str) -> String {
    let all = body.env.unwrap().into_iter();
    let value = |line: String| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    all.filter_map(value).next().unwrap()
}

#[test]
fn a_guard_is_shut_in_and_bears_its_owners_labels() {
    let body = body_of(&BootId::random());
    let labels = body.labels.unwrap();
    assert_eq!(labels[OWNER], Owner::current().to_string());
    assert_eq!(labels[NAME], "a-guard");
    let host = body.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert_eq!(host.userns_mode.as_deref(), Some("host"));
    assert_eq!(
        (host.readonly_rootfs, host.auto_remove),
        (Some(true), Some(true))
    );
    assert_eq!(
        host.mounts.unwrap()[0].source.as_deref(),
        Some("/run/e.sock")
    );
}

#[test]
fn filters_reach_the_engine_as_data() {
    let filters = variable(body_of(&BootId::random()), "FILTERS");
    assert!(!filters.contains(['"', ' ', '&', '{']), "{filters}");
}

#[test]
fn a_guard_wants_and_finds_the_things_of_its_own_boot_only() {
    let (one, other) = (BootId::random(), BootId::random());
    for (boot, has) in [(&one, true), (&other, false)] {
        for name in ["FILTERS", "LABELS"] {
            let value = variable(body_of(&one), name);
            assert_eq!(value.contains(boot.as_str()), has, "{value}");
        }
    }
}

#[test]
fn the_guard_of_a_lease_bears_its_label_and_sees_its_holders() {
    let cache = tempfile::tempdir().unwrap();
    let lease = Lease::of(cache.path(), LeaseId::new("l").unwrap()).unwrap();
    let owner = Owner::Lease(lease.clone());
    let boot = BootId::random();
    let ward = Ward::new("a", &boot).owner(&owner);
    let ward = ward.idle(Duration::from_secs(90));
    let folder = cache.path().join("clusters/a");
    let seeing = Folders {
        lease: Some(&lease),
        folder: Some(&folder),
        ..Folders::default()
    };
    let body = body_of_ward(&ward, seeing);
    let host = body.host_config.clone().unwrap();
    let mounts = host.mounts.unwrap().into_iter();
    let mounts: Vec<_> = mounts.map(|mount| mount.source.unwrap()).collect();
    let within = |name| cache.path().join(name).to_string_lossy().into_owned();
    assert_eq!(mounts[1..], [within("leases"), within("clusters")]);
    assert_eq!(body.labels.as_ref().unwrap()[OWNER], owner.to_string());
    for (name, value) in [
        ("OWNER", "lease"),
        ("LEASE", "l"),
        ("IDLE", "90"),
        ("FOLDER", "a"),
    ] {
        assert_eq!(variable(body.clone(), name), value);
    }
    assert!(variable(body, "LABELS").contains(&owner.to_string()));
    let blind = body_of_ward(&ward, Folders::default());
    assert_eq!(variable(blind, "OWNER"), "unseen lease");
}
