//! Archives as the tools write them: each is loaded completely, or one error says why not.

use tar::EntryType;

use super::*;

/// An archive that is being written.
#[derive(Default, Clone)]
struct Tar(Vec<(String, EntryType, Vec<u8>)>);

impl Tar {
    fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        self.0
            .push((name.to_owned(), EntryType::Regular, bytes.to_vec()));
        self
    }

    fn json(self, name: &str, value: &Value) -> Self {
        self.file(name, value.to_string().as_bytes())
    }

    fn link(mut self, name: &str, kind: EntryType, target: &str) -> Self {
        self.0
            .push((name.to_owned(), kind, target.as_bytes().to_vec()));
        self
    }

    fn blob(self, bytes: &[u8]) -> Self {
        self.file(&blob_name(&digest(bytes)), bytes)
    }

    fn blobs(self, all: &[&[u8]]) -> Self {
        all.iter().fold(self, |tar, bytes| tar.blob(bytes))
    }

    fn without(mut self, gone: &[&[u8]]) -> Self {
        self.0
            .retain(|(_, _, bytes)| !gone.contains(&bytes.as_slice()));
        self
    }

    /// Every entry, changed.
    fn each(self, change: impl Fn(&str, &[u8]) -> (String, Vec<u8>)) -> Self {
        let entries = self.0.into_iter().map(|(name, kind, bytes)| {
            let (name, bytes) = change(&name, &bytes);
            (name, kind, bytes)
        });
        Self(entries.collect())
    }

    fn read(&self) -> Result<(Vec<Image>, SavedImages)> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            if *kind == EntryType::Regular {
                header.set_size(bytes.len() as u64);
                builder
                    .append_data(&mut header, name, bytes.as_slice())
                    .unwrap();
            } else {
                header.set_size(0);
                let target = std::str::from_utf8(bytes).unwrap();
                builder.append_link(&mut header, name, target).unwrap();
            }
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&builder.into_inner().unwrap()).unwrap();
        let archive = Archive::index(file, Path::new("x.tar")).unwrap();
        read(Box::new(archive), &node())
    }

    /// The names of each image, and what its layers hold, the lowest first.
    fn loaded(&self) -> Vec<(Vec<String>, Vec<String>)> {
        let (images, saved) = self.read().unwrap();
        let layers = |image: &Image| {
            let text = |layer| String::from_utf8(unzipped(bytes_of(&saved, layer))).unwrap();
            image.layers.iter().map(text).collect()
        };
        images
            .iter()
            .map(|image| (image.names.clone(), layers(image)))
            .collect()
    }

    fn refusal(&self) -> String {
        self.read().err().expect("it must be refused").report()
    }
}

fn unzipped(bytes: Vec<u8>) -> Vec<u8> {
    let mut plain = Vec::new();
    match compression(&bytes) {
        "" => return bytes,
        _ => flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .unwrap(),
    };
    plain
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn of_amd64(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    config("amd64", &diff_ids)
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    let kind = format!("application/vnd.oci.image.{kind}");
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

fn manifest_of(config: &[u8], layers: &[&[u8]]) -> Vec<u8> {
    let kind = |layer: &[u8]| match compression(layer) {
        "" => "layer.v1.tar",
        _ => "layer.v1.tar+gzip",
    };
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| descriptor(kind(layer), layer))
        .collect();
    let config = descriptor("config.v1+json", config);
    json!({"schemaVersion": 2, "config": config, "layers": layers})
        .to_string()
        .into_bytes()
}

/// The index's entry of a manifest, with the name that containerd gives it.
fn named(manifest: &[u8], name: &str) -> Value {
    let mut entry = descriptor("manifest.v1+json", manifest);
    entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
    entry["annotations"] = json!({"io.containerd.image.name": name});
    entry
}

fn index_of(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "manifests": entries})
}

/// An entry of `manifest.json` as Docker writes it into a layout.
fn beside(config: &[u8], tags: &Value, layers: &[&[u8]]) -> Value {
    let layers: Vec<String> = layers
        .iter()
        .map(|layer| blob_name(&digest(layer)))
        .collect();
    json!({"Config": blob_name(&digest(config)), "RepoTags": tags, "Layers": layers})
}

/// A layout as Docker's image store writes it since 25.0: `told` is the manifest's order.
fn docker_25(told: &[&[u8]], layers: &[&[u8]]) -> Tar {
    let config = of_amd64(layers);
    let manifest = manifest_of(&config, told);
    Tar::default()
        .blobs(layers)
        .blobs(&[&config, &manifest])
        .json(
            "index.json",
            &index_of(&[named(&manifest, "docker.io/example/app:dev")]),
        )
        .json(
            "manifest.json",
            &json!([beside(&config, &json!(["example/app:dev"]), layers)]),
        )
}

const LOWER: &[u8] = b"lower";
const MIDDLE: &[u8] = b"middle";
const UPPER: &[u8] = b"upper";
const APP: &str = "docker.io/example/app:dev";

fn app(layers: &[&str]) -> Vec<(Vec<String>, Vec<String>)> {
    let layers = layers.iter().map(|&layer| layer.to_owned()).collect();
    vec![(vec![APP.to_owned()], layers)]
}

/// <https://github.com/kubernetes-sigs/kind/issues/3490>
#[test]
fn docker_25_0_0_writes_layers_out_of_order_and_manifest_json_is_believed() {
    let right = [LOWER, MIDDLE, UPPER];
    let expected = app(&["lower", "middle", "upper"]);
    assert_eq!(docker_25(&right, &right).loaded(), expected);
    let wrong = docker_25(&[MIDDLE, UPPER, LOWER], &right);
    assert_eq!(wrong.loaded(), expected);
    // Its engine streams it without the layers, and what else the engine writes shows the order
    // too.
    let (images, _) = wrong.clone().without(&right).read().unwrap();
    assert_eq!(images[0].layers[0].blob.digest, digest(LOWER));
    let mut alone = wrong;
    alone.0.retain(|(name, ..)| name != "manifest.json");
    assert_eq!(alone.loaded(), expected);
}

/// <https://github.com/moby/moby/issues/47065>, 47072 and 47210
#[test]
fn what_else_docker_25_wrote_wrong_is_in_manifest_json() {
    let layers = [LOWER, UPPER];
    let expected = app(&["lower", "upper"]);
    assert_eq!(docker_25(&[], &layers).loaded(), expected, "no layers");

    let config = of_amd64(&layers);
    let manifest = manifest_of(&config, &layers);
    let sizes = String::from_utf8(manifest)
        .unwrap()
        .replace("\"size\":5", "\"size\":2048");
    let docker = json!([beside(&config, &json!(["example/app:dev"]), &layers)]);
    let with = |index: &Value| {
        let blobs = Tar::default()
            .blobs(&layers)
            .blobs(&[&config, sizes.as_bytes()]);
        blobs
            .json("index.json", index)
            .json("manifest.json", &docker)
    };
    let sized = with(&index_of(&[named(sizes.as_bytes(), APP)]));
    assert_eq!(sized.loaded(), expected, "wrong sizes");
    assert_eq!(
        with(&json!({"manifests": null})).loaded(),
        expected,
        "saved by digest"
    );
    assert_eq!(with(&index_of(&[])).loaded(), expected, "an empty index");
}

/// <https://github.com/moby/moby/issues/49473>
#[test]
fn blobs_that_the_engine_left_out_are_named_and_saving_again_is_no_cure() {
    let layers = [LOWER, UPPER];
    let config = of_amd64(&layers);
    let whole = docker_25(&layers, &layers);
    let told = whole.clone().without(&[&config, LOWER, UPPER]).refusal();
    for part in [&config, LOWER, UPPER] {
        assert!(told.contains(&digest(part)), "{told}");
    }
    assert!(
        told.contains("of 'docker.io/example/app:dev': the engine left out"),
        "{told}"
    );
    assert!(
        told.contains("cure: saving it again gives the same"),
        "{told}"
    );

    // A node may have the layer.
    let (images, saved) = whole.without(&[LOWER]).read().unwrap();
    assert!(saved.open(&images[0].layers[0]).unwrap().is_none());
    let told = saved.absent(&digest(LOWER)).report();
    assert!(told.contains("the engine left out"), "{told}");

    // Where no engine wrote an index, the file is what is broken.
    let told = read_all(&docker_archive().split_off(1))
        .err()
        .unwrap()
        .report();
    assert!(
        told.ends_with("cure: save or build the image again"),
        "{told}"
    );
}

#[test]
fn docker_before_25_shares_layers_by_links() {
    let image = |config: &[u8], tag: &str, layers: [&str; 2]| {
        let file = format!("{}.json", sha256_hex(config));
        json!({"Config": file, "RepoTags": [tag], "Layers": layers})
    };
    let (one, two) = (of_amd64(&[LOWER, UPPER]), of_amd64(&[LOWER, MIDDLE]));
    let tar = Tar::default()
        .file("a/VERSION", b"1.0")
        .file("a/layer.tar", LOWER)
        .link("b/layer.tar", EntryType::Symlink, "../a/layer.tar")
        .file("c/layer.tar", UPPER)
        .file("d/layer.tar", MIDDLE)
        .file(&format!("{}.json", sha256_hex(&one)), &one)
        .file(&format!("{}.json", sha256_hex(&two)), &two)
        .json("repositories", &json!({}))
        .json(
            "manifest.json",
            &json!([
                image(&one, "one:1", ["a/layer.tar", "c/layer.tar"]),
                image(&two, "two:1", ["b/layer.tar", "d/layer.tar"]),
            ]),
        );
    let names = |at: usize| tar.loaded()[at].0.clone();
    assert_eq!(names(0), ["docker.io/library/one:1"]);
    assert_eq!(names(1), ["docker.io/library/two:1"]);
    assert_eq!(tar.loaded()[1].1, ["lower", "middle"]);
}

#[test]
fn tools_without_an_engine_write_docker_archives() {
    // podman and skopeo: by digest, and by id through a link.
    let config_of = |layers: &[&[u8]]| (of_amd64(layers), sha256_hex(&of_amd64(layers)));
    let (config, hex) = config_of(&[LOWER]);
    let file = format!("{}.tar", sha256_hex(LOWER));
    let podman = Tar::default()
        .file(&file, LOWER)
        .link("0a/layer.tar", EntryType::Symlink, &format!("../{file}"))
        .file(&format!("{hex}.json"), &config)
        .json(
            "manifest.json",
            &json!([{"Config": format!("{hex}.json"), "Layers": [file],
                     "RepoTags": ["example/app:dev", "<none>:<none>"]}]),
        );
    assert_eq!(podman.loaded(), app(&["lower"]));

    // kaniko, ko and crane: the configuration by its digest, layers gzipped, one of them twice.
    let (config, hex) = config_of(&[LOWER, LOWER]);
    let layer = zipped(LOWER);
    let file = format!("{}.tar.gz", sha256_hex(&layer));
    let ko = Tar::default()
        .file(&format!("sha256:{hex}"), &config)
        .file(&file, &layer)
        .json(
            "manifest.json",
            &json!([{"Config": format!("sha256:{hex}"), "RepoTags": ["example/app:dev"],
                 "Layers": [file, file]}]),
        );
    assert_eq!(ko.loaded(), app(&["lower", "lower"]));
    let other = ko.each(|name, bytes| {
        let more = if name.starts_with("sha256:") { " " } else { "" };
        (name.to_owned(), [bytes, more.as_bytes()].concat())
    });
    assert!(other.refusal().contains("is not what its name says"));

    // nix: hard links, and names from the folder itself.
    let (config, hex) = config_of(&[LOWER, UPPER, LOWER]);
    let nix = Tar::default()
        .file("./a/layer.tar", LOWER)
        .file("./b/layer.tar", UPPER)
        .link("./c/layer.tar", EntryType::Link, "a/layer.tar")
        .file(&format!("./{hex}.json"), &config)
        .json(
            "./manifest.json",
            &json!([{"Config": format!("{hex}.json"), "RepoTags": ["example/app:dev"],
                     "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"]}]),
        );
    assert_eq!(nix.loaded(), app(&["lower", "upper", "lower"]));
}

#[test]
fn oci_archives_are_named_by_their_annotations() {
    let layer = zipped(LOWER);
    let config = of_amd64(&[LOWER]);
    let manifest = manifest_of(&config, &[&layer]);
    let blobs = Tar::default().blobs(&[&layer, &config, &manifest]);
    let annotated = |annotations: Value| {
        let mut entry = descriptor("manifest.v1+json", &manifest);
        entry["annotations"] = annotations;
        blobs
            .clone()
            .json("index.json", &index_of(&[entry]))
            .loaded()
    };
    let short = "org.opencontainers.image.ref.name";
    let full = "io.containerd.image.name";
    assert_eq!(
        annotated(json!({short: "docker.io/example/app:dev"})),
        app(&["lower"])
    );
    assert_eq!(annotated(json!({full: APP, short: "dev"})), app(&["lower"]));
    for unnamed in [
        json!(null),
        json!({short: "dev"}),
        json!({full: "not a name"}),
    ] {
        let found = annotated(unnamed);
        assert_eq!(found, [(vec![], vec!["lower".to_owned()])]);
    }

    // buildx: an index of its own, with an attestation.
    let mut here = descriptor("manifest.v1+json", &manifest);
    here["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut proof = descriptor("manifest.v1+json", b"absent");
    proof["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner = index_of(&[here, proof]).to_string();
    let mut entry = descriptor("index.v1+json", inner.as_bytes());
    entry["annotations"] = json!({full: APP, short: "dev"});
    let buildx = blobs.clone().blob(inner.as_bytes());
    assert_eq!(
        buildx.json("index.json", &index_of(&[entry])).loaded(),
        app(&["lower"])
    );

    // cosign: a signature has a configuration of no platform.
    let nothing = br#"{"rootfs":{"type":"layers","diff_ids":null}}"#;
    let signature = manifest_of(nothing, &[]);
    let entries = [
        named(&manifest, APP),
        descriptor("manifest.v1+json", &signature),
    ];
    let signed = blobs
        .blobs(&[nothing, &signature])
        .json("index.json", &index_of(&entries));
    assert_eq!(signed.loaded(), app(&["lower"]));
}

#[test]
fn no_image_is_lost_without_a_word() {
    let (one, two) = (of_amd64(&[LOWER]), of_amd64(&[UPPER]));
    let (first, second) = (manifest_of(&one, &[LOWER]), manifest_of(&two, &[UPPER]));
    let blobs = Tar::default().blobs(&[LOWER, UPPER, &one, &two, &first, &second]);
    let names = |tar: &Tar| -> Vec<Vec<String>> {
        tar.loaded().into_iter().map(|(names, _)| names).collect()
    };

    // The index has one of two.
    let docker = json!([
        beside(&one, &json!(["one:1"]), &[LOWER]),
        beside(&two, &json!(["two:1"]), &[UPPER]),
    ]);
    let tar = blobs
        .clone()
        .json("index.json", &index_of(&[named(&first, "one:1")]));
    let tar = tar.json("manifest.json", &docker);
    assert_eq!(
        names(&tar),
        [["docker.io/library/one:1"], ["docker.io/library/two:1"]]
    );

    // One image by two names.
    let entries = [named(&first, "one:1"), named(&first, "uno:1")];
    let tar = blobs.clone().json("index.json", &index_of(&entries));
    assert_eq!(
        names(&tar),
        [["docker.io/library/one:1", "docker.io/library/uno:1"]]
    );

    // Two images by one name.
    let entries = [named(&first, "one:1"), named(&second, "one:1")];
    let told = blobs
        .clone()
        .json("index.json", &index_of(&entries))
        .refusal();
    assert!(
        told.contains("are both named 'docker.io/library/one:1'"),
        "{told}"
    );

    // One of two is for another platform.
    let far = config("arm64", &[digest(UPPER)]);
    let elsewhere = manifest_of(&far, &[UPPER]);
    let mut entry = named(&elsewhere, "far:1");
    entry["platform"]["architecture"] = json!("arm64");
    let entries = index_of(&[named(&first, "one:1"), entry]);
    let tar = blobs
        .clone()
        .blobs(&[&far, &elsewhere])
        .json("index.json", &entries);
    insta::assert_snapshot!(tar.refusal(), @r"
    'docker.io/library/far:1' of archive 'x.tar' has no image for the node's linux/amd64; it has linux/arm64
    cure: build it, or save it whole, for that platform: `docker build --platform linux/amd64`, `docker save --platform linux/amd64`
    ");
    let docker = json!([
        beside(&one, &json!(["one:1"]), &[LOWER]),
        beside(&far, &json!(["far:1"]), &[UPPER]),
    ]);
    let told = blobs.blob(&far).json("manifest.json", &docker).refusal();
    assert!(
        told.starts_with("'docker.io/library/far:1' of archive 'x.tar' has no"),
        "{told}"
    );
}

#[test]
fn what_no_node_can_read_is_named() {
    let config = of_amd64(&[LOWER]);
    let manifest = json!([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["layer"]}]);
    let tar = |layer: &[u8]| {
        let tar = Tar::default().file("c.json", &config).file("layer", layer);
        tar.json("manifest.json", &manifest)
    };
    let told = tar(b"\xfd7zXZ\0...").refusal();
    assert!(
        told.contains("compressed with xz, which no node unpacks"),
        "{told}"
    );

    let folder = tar(LOWER).each(|name, bytes| (format!("saved/{name}"), bytes.to_vec()));
    let told = folder.refusal();
    assert!(told.contains("tar -C saved -cf FILE ."), "{told}");

    let dir = tempfile::tempdir().unwrap();
    for (begin, tool) in [
        (b"\xfd7zXZ\0".as_slice(), "xz"),
        (b"BZh91AY", "bzip2"),
        (b"\x28\xb5\x2f\xfd....", "zstd"),
    ] {
        let path = dir.path().join(tool);
        std::fs::write(&path, begin).unwrap();
        let told = Archive::open(&path, &env::temp_dir()).unwrap_err().report();
        assert!(told.contains(&format!("compressed with {tool}")), "{told}");
        assert!(told.contains(&format!("{tool} --decompress")), "{told}");
    }
}
