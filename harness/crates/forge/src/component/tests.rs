//! Tests: how a folder that is used as a component ends up in the cache.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use kubenest_recipe::recipe::Role;

/// A folder with these executable files, as a component of this role.
fn folder(role: Role, names: &[&str]) -> (tempfile::TempDir, Component) {
    let place = tempfile::tempdir().unwrap();
    for name in names {
        let file = place.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, name).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let source = Source::folder(place.path().into()).unwrap();
    (
        place,
        Component {
            role,
            version: "1".into(),
            source,
        },
    )
}

#[tokio::test]
async fn one_source_serves_a_daemon_and_its_shim() {
    let cache = tempfile::tempdir().unwrap();
    let store = Store::open(cache.path());
    let names = [
        "bin/containerd",
        "bin/ctr",
        "bin/containerd-shim-runc-v2",
        "bin/other",
    ];
    let (_place, daemon) = folder(Role::Containerd, &names);
    let shim = Component {
        role: Role::Shim,
        ..daemon.clone()
    };
    let (daemon, shim) = (
        part(&store, &daemon).await.unwrap(),
        part(&store, &shim).await.unwrap(),
    );
    let bin = |built: &Built| {
        let mut names: Vec<_> = built
            .files
            .join("usr/local/bin")
            .read_dir()
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(bin(&daemon), ["containerd", "ctr"]);
    assert_eq!(bin(&shim), ["containerd-shim-runc-v2"]);
    assert_ne!(daemon.hash, shim.hash);
    let program = daemon.files.join("usr/local/bin/ctr");
    assert_eq!(
        program.metadata().unwrap().permissions().mode() & 0o777,
        0o755
    );
}

#[tokio::test]
async fn a_source_without_the_component_says_what_it_lacks() {
    let cache = tempfile::tempdir().unwrap();
    let (_place, cni) = folder(Role::Cni, &["bridge", "host-local", "loopback"]);
    let error = part(&Store::open(cache.path()), &cni).await.unwrap_err();
    assert_eq!(error.kind(), kubenest_base::ErrorKind::Input);
    assert!(
        error
            .report()
            .contains("no executable file named 'portmap'"),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_an_error_asked_for_helps() {
    let cache = tempfile::tempdir().unwrap();
    let store = Store::open(cache.path());
    let (place, runc) = folder(Role::Runc, &["runc"]);
    let file = place.path().join("runc");
    let with_mode = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let source = Source::folder(place.path().into()).unwrap();
        Component {
            source,
            ..runc.clone()
        }
    };
    let error = part(&store, &with_mode(0o644)).await.unwrap_err();
    assert!(error.cure_text().unwrap().contains("chmod +x"), "{error:?}");
    let left = fs::read_dir(cache.path().join("component"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "what lacks its program is not kept");
    part(&store, &with_mode(0o755)).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_changes_is_never_kept_under_the_hash_it_had() {
    let cache = tempfile::tempdir().unwrap();
    let store = Store::open(cache.path());
    let (place, runc) = folder(Role::Runc, &["runc"]);
    let file = place.path().join("runc");
    fs::write(&file, "of another build").unwrap();
    let error = part(&store, &runc).await.unwrap_err();
    assert!(
        error.to_string().contains("changed while it was taken"),
        "{error:?}"
    );
    fs::write(&file, "runc").unwrap();
    let built = part(&store, &runc).await.unwrap();
    let program = built.files.join("usr/local/sbin/runc");
    assert_eq!(fs::read_to_string(program).unwrap(), "runc");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "runc",
        "the user's is left"
    );
}

#[tokio::test]
async fn half_a_cri_o_names_the_other_half() {
    let cache = tempfile::tempdir().unwrap();
    let store = Store::open(cache.path());
    for (given, lacking) in [("pinns", "crio"), ("crio", "pinns")] {
        let (_place, crio) = folder(Role::Crio, &[given]);
        let error = part(&store, &crio).await.unwrap_err();
        assert_eq!(error.kind(), kubenest_base::ErrorKind::Input);
        let wanted = format!("no executable file named '{lacking}'");
        assert!(error.report().contains(&wanted), "{error:?}");
    }
    let (_place, crio) = folder(Role::Crio, &["bin/crio", "bin/pinns", "bin/conmon"]);
    let built = part(&store, &crio).await.unwrap();
    let bin = built.files.join("usr/local/bin");
    assert!(bin.join("crio").is_file() && !bin.join("conmon").exists());
}

#[tokio::test]
async fn two_files_of_one_name_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    let (_place, runc) = folder(Role::Runc, &["a/runc", "b/runc"]);
    let error = part(&Store::open(cache.path()), &runc).await.unwrap_err();
    assert!(error.report().contains("are both 'runc'"), "{error:?}");
}
