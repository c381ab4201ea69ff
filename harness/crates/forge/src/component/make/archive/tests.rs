//! Tests: what is taken from archives, and what is refused.

use std::{io::Write, net::TcpListener, os::unix::fs::PermissionsExt, sync::mpsc};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::*;
use kubenest_base::digest::sha256_hex;

/// Adds a member whose name `tar` itself would refuse to write.
fn add(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn archive(members: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, link) in members {
        let content: &[u8] = if kind.is_file() { b"program" } else { b"" };
        add(&mut tar, *kind, name, link, content);
    }
    tar.into_inner().unwrap()
}

fn unpack_bytes(bytes: &[u8], role: Role) -> (tempfile::TempDir, Result<()>) {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, bytes).unwrap();
    let result = unpack(&file, role, &place.path().join("out"));
    (place, result)
}

#[test]
fn programs_are_taken_and_nothing_else() {
    let bytes = archive(&[
        (EntryType::Directory, "./bin/", ""),
        (EntryType::Regular, "./bin/containerd", ""),
        (EntryType::Regular, "./bin/README.md", ""),
        (EntryType::Symlink, "./bin/ctr", "containerd"),
    ]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&bytes).unwrap();
    for bytes in [bytes, gzip.finish().unwrap()] {
        let (place, result) = unpack_bytes(&bytes, Role::Containerd);
        result.unwrap();
        let bin = place.path().join("out/bin");
        assert_eq!(bin.read_dir().unwrap().count(), 1);
        let mode = bin
            .join("containerd")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}

#[test]
fn members_that_lead_outside_are_refused() {
    let hostile = [
        (EntryType::Regular, "../runc", ""),
        (EntryType::Regular, "/usr/sbin/runc", ""),
        (EntryType::Regular, "a/../../runc", ""),
        (EntryType::Symlink, "bin", "/etc"),
        (EntryType::Symlink, "a/bin", "../../etc"),
        (EntryType::Link, "runc", "../runc"),
    ];
    for member in hostile {
        let (place, result) = unpack_bytes(&archive(&[member]), Role::Runc);
        let error = result.unwrap_err();
        assert!(
            error.to_string().contains("leads out of the archive"),
            "{member:?}: {error:?}"
        );
        assert!(!place.path().join("runc").exists());
    }
    let (_, inside) = unpack_bytes(&archive(&[(EntryType::Symlink, "a/b", "../c")]), Role::Runc);
    inside.unwrap();
}

#[test]
fn a_member_named_twice_is_not_overwritten() {
    let twice = archive(&[
        (EntryType::Regular, "runc", ""),
        (EntryType::Regular, "runc", ""),
    ]);
    assert!(unpack_bytes(&twice, Role::Runc).1.is_err());
}

#[test]
fn a_bare_program_is_the_component_if_it_has_only_one() {
    let (place, result) = unpack_bytes(b"\x7fELF and more", Role::Runc);
    result.unwrap();
    assert!(place.path().join("out/runc").is_file());
    assert!(
        unpack_bytes(b"\x7fELF and more", Role::Kubernetes)
            .1
            .is_err()
    );
}

#[tokio::test]
async fn other_bytes_than_pinned_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let (file, url) = (
        place.path().join("a"),
        format!("file://{}/served", place.path().display()),
    );
    fs::write(place.path().join("served"), "served").unwrap();
    fetch(&url, &sha256_hex(b"served"), &file).await.unwrap();
    let error = fetch(&url, &sha256_hex(b"other"), &file).await.unwrap_err();
    assert_eq!(error.kind(), kubenest_base::ErrorKind::Refused);
    assert!(error.to_string().contains(&sha256_hex(b"served")));
    let error = fetch("file:///nowhere/x", &sha256_hex(b""), &file)
        .await
        .unwrap_err();
    assert!(error.report().contains("/nowhere/x"));
}

/// The address of a server that sends `said` once or repeatedly, and then is silent.
fn serve(said: &'static str, again: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(said.as_bytes()).ok();
        while again && stream.write_all(b"x").is_ok() {}
        // Keeps the connection open until the client closes it.
        io::copy(&mut stream, &mut io::sink()).ok();
    });
    format!("http://{address}/runc")
}

const BEGUN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\nbegun";

#[test]
fn a_server_that_falls_silent_ends_a_download() {
    let place = tempfile::tempdir().unwrap();
    let short = Duration::from_millis(200);
    let patience = |silence, all| Patience {
        connect: Duration::from_secs(30),
        silence,
        all,
    };
    let long = Duration::from_secs(600);
    for (said, again, patience) in [
        ("", false, patience(short, long)),
        (BEGUN, false, patience(short, long)),
        // This server never stops sending.
        (BEGUN, true, patience(long, short)),
    ] {
        let file = place.path().join("file");
        let error = download(&serve(said, again), &file, &patience).unwrap_err();
        assert!(error.report().contains("timeout"), "{error:?}");
    }
}

#[test]
fn a_download_that_is_given_up_holds_no_runtime_up() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let url = serve(BEGUN, false);
        let fetch = fetch(&url, "", &file);
        let soon = Duration::from_millis(50);
        let given_up = runtime.block_on(async { wait::at_most(soon, fetch).await });
        drop(runtime);
        ended.send(given_up.is_none()).unwrap();
    });
    // Less time than a server may be silent.
    assert_eq!(end.recv_timeout(Duration::from_secs(45)), Ok(true));
}
