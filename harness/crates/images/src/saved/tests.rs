//! Small real archives, whole and broken.

use std::{
    env,
    io::{Cursor, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;
use crate::{
    files::{Archive, Folder},
    layout::DEPTH,
    manifest::Manifest,
};

mod makers;

/// Files by name, as they go into an archive.
type Entries = Vec<(String, Vec<u8>)>;

fn archive(entries: &Entries) -> Archive {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder
            .append_data(&mut header, name, bytes.as_slice())
            .unwrap();
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&builder.into_inner().unwrap()).unwrap();
    Archive::index(file, Path::new("x.tar")).unwrap()
}

fn node() -> Platform {
    Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: String::new(),
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

fn config(architecture: &str, diff_ids: &[String]) -> Vec<u8> {
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    json!({"os": "linux", "architecture": architecture, "rootfs": rootfs})
        .to_string()
        .into_bytes()
}

fn read_all(entries: &Entries) -> Result<(Vec<Image>, SavedImages)> {
    read(Box::new(archive(entries)), &node())
}

fn bytes_of(saved: &SavedImages, layer: &Layer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = saved.open(layer).unwrap().expect("must be there");
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

/// A docker-archive of one image with a plain and a gzipped layer.
fn docker_archive() -> Entries {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"upper").unwrap();
    let config = config("amd64", &[digest(b"lower"), digest(b"upper")]);
    let name = format!("{}.json", sha256_hex(&config));
    let manifest = json!([{
        "Config": name, "RepoTags": ["app:1"], "Layers": ["a/layer.tar", "b/layer.tar"],
    }]);
    vec![
        (name, config),
        ("a/layer.tar".into(), b"lower".to_vec()),
        ("b/layer.tar".into(), gzip.finish().unwrap()),
        ("manifest.json".into(), manifest.to_string().into_bytes()),
    ]
}

/// A blob of an OCI layout, and the descriptor that names it.
fn put(entries: &mut Entries, kind: &str, bytes: Vec<u8>) -> Value {
    let digest = digest(&bytes);
    let size = bytes.len();
    entries.push((blob_name(&digest), bytes));
    json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size})
}

/// An OCI layout whose one image has an index of two platforms; arm64's blobs are absent, as
/// `docker save` leaves them.
fn oci_layout(architecture: &str) -> Entries {
    let mut entries = Vec::new();
    let layer = put(&mut entries, "layer.v1.tar", b"layer".to_vec());
    let config = config(architecture, &[digest(b"layer")]);
    let config = put(&mut entries, "config.v1+json", config);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = manifest.to_string().into_bytes();
    let mut here = put(&mut entries, "manifest.v1+json", manifest);
    here["platform"] = json!({"os": "linux", "architecture": architecture});
    let mut absent = here.clone();
    absent["digest"] = json!(digest(b"absent"));
    absent["platform"]["architecture"] = json!("s390x");
    let index = json!({"schemaVersion": 2, "manifests": [absent, here]});
    let mut index = put(
        &mut entries,
        "index.v1+json",
        index.to_string().into_bytes(),
    );
    index["annotations"] = json!({
        "io.containerd.image.name": "docker.io/library/app:1",
        "org.opencontainers.image.ref.name": "1",
    });
    let top = json!({"schemaVersion": 2, "manifests": [index]});
    entries.push(("index.json".into(), top.to_string().into_bytes()));
    entries
}

#[test]
fn a_docker_archive_is_read() {
    let (images, saved) = read_all(&docker_archive()).unwrap();
    let [image] = images.as_slice() else {
        panic!("{images:?}")
    };
    assert_eq!(image.names, ["docker.io/library/app:1"]);
    assert_eq!(image.layers[0].blob.digest, digest(b"lower"));
    assert_eq!(bytes_of(&saved, &image.layers[0]), b"lower");
    let upper = &image.layers[1];
    assert_eq!(upper.diff_id, digest(b"upper"));
    assert!(upper.blob.media_type.ends_with("tar+gzip"));
    assert_eq!(upper.blob.digest, digest(&bytes_of(&saved, upper)));
    assert_eq!(image.chain(), Some(upper.chain.as_str()));
}

#[test]
fn an_index_with_an_absent_platform_gives_the_nodes_own() {
    let (images, saved) = read_all(&oci_layout("amd64")).unwrap();
    assert_eq!(images[0].names, ["docker.io/library/app:1"]);
    assert_eq!(bytes_of(&saved, &images[0].layers[0]), b"layer");
    let told: Manifest = parse(&images[0].manifest.bytes, "it").unwrap();
    assert_eq!(told.layers.len(), 1);
}

#[test]
fn a_layout_may_also_be_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in oci_layout("amd64") {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let folder = Folder(dir.path().to_owned());
    let (images, saved) = read(Box::new(folder), &node()).unwrap();
    assert_eq!(bytes_of(&saved, &images[0].layers[0]), b"layer");
}

#[test]
fn another_platform_is_told_with_what_there_is() {
    let error = read_all(&oci_layout("arm64")).err().unwrap();
    insta::assert_snapshot!(error.report(), @r"
    archive 'x.tar' has no image for the node's linux/amd64; it has linux/s390x, linux/arm64
    cure: build it, or save it whole, for that platform: `docker build --platform linux/amd64`, `docker save --platform linux/amd64`
    ");
}

#[test]
fn a_platform_that_is_there_by_name_only_is_told() {
    let mut entries = oci_layout("amd64");
    entries.retain(|(name, bytes)| !name.starts_with("blobs/") || !bytes.starts_with(b"{\"config"));
    let error = read_all(&entries).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("linux/amd64 by name only (sha256:"), "{text}");
}

#[test]
fn a_document_that_is_not_its_digest_is_refused() {
    let mut entries = oci_layout("amd64");
    for (_, bytes) in &mut entries {
        if bytes.starts_with(b"{\"architecture") {
            bytes.push(b' ');
        }
    }
    let error = read_all(&entries).err().unwrap();
    assert!(error.report().contains(" has digest sha256:"), "{error:?}");

    let mut entries = docker_archive();
    entries[0].1.push(b' ');
    let error = read_all(&entries).err().unwrap();
    assert!(
        error.to_string().ends_with("is not what its name says"),
        "{error}"
    );
}

#[test]
fn what_is_missing_is_named() {
    for (gone, told) in [
        ("a/layer.tar", "lacks the layer 'a/layer.tar'"),
        (".json", "lacks the configuration"),
        (
            "manifest.json",
            "has neither 'index.json' nor 'manifest.json'",
        ),
    ] {
        let mut entries = docker_archive();
        let at = entries
            .iter()
            .position(|(name, _)| name.ends_with(gone))
            .unwrap();
        entries.remove(at);
        let error = read_all(&entries).err().unwrap();
        assert!(error.to_string().contains(told), "{error}");
        assert!(error.cure_text().is_some());
    }
}

#[test]
fn a_layer_of_another_size_than_said_is_refused() {
    let mut entries = oci_layout("amd64");
    entries[0].1 = b"layer and more".to_vec();
    let (images, saved) = read_all(&entries).unwrap();
    let error = saved.open(&images[0].layers[0]).err().unwrap();
    assert!(
        error.to_string().ends_with("has 14 bytes, not 5"),
        "{error}"
    );
}

#[test]
fn indexes_without_end_are_refused() {
    let mut entries = Vec::new();
    let mut inner = json!([]);
    for _ in 0..=DEPTH {
        let index = json!({"schemaVersion": 2, "manifests": inner});
        inner = json!([put(
            &mut entries,
            "index.v1+json",
            index.to_string().into_bytes()
        )]);
    }
    let top = json!({"manifests": inner}).to_string().into_bytes();
    entries.push(("index.json".into(), top));
    let error = read_all(&entries).err().unwrap();
    assert!(error.to_string().contains("too deep"), "{error}");
}

#[test]
fn a_gzipped_archive_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tar.gz");
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in docker_archive() {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder
            .append_data(&mut header, name, Cursor::new(bytes))
            .unwrap();
    }
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    std::fs::write(&path, bytes).unwrap();
    let (images, saved) = read(
        Box::new(Archive::open(&path, &env::temp_dir()).unwrap()),
        &node(),
    )
    .unwrap();
    assert_eq!(bytes_of(&saved, &images[0].layers[0]), b"lower");

    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = Archive::open(&path, &env::temp_dir()).unwrap_err();
    assert!(error.report().contains("cut off or corrupt"), "{error:?}");
}
