//! Records the messages to and from the containerd of a running node; `README.md` says how.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::PoisonError, time::Duration};

use futures::stream;
use prost::bytes::Bytes;
use serde_json::json;
use tokio::net::UnixStream;

use super::{RECORDED, folder};
use kubenest_base::{
    digest::sha256_hex,
    wait::{self, Probe},
};

use crate::node::{
    Runtime,
    containerd::{Blob, Containerd, ImageStore, Record},
    cri::{CgroupDriver, Cri, PodConfig},
};

const NAME: &str = "example.org/recorded:1";
const SNAPSHOTTER: &str = "overlayfs";
const LABEL: &str = "dev.kubenest.recorded";

#[tokio::test]
#[ignore = "needs a node of the release that is to be recorded"]
async fn the_answers_of_a_node_are_recorded() {
    #[expect(clippy::disallowed_methods, reason = "only who records anew says it")]
    let socket = std::env::var("RECORD_FROM").expect("RECORD_FROM must be containerd's socket");
    let dial = || UnixStream::connect(&socket);
    let (stream, other) = (dial().await, dial().await);
    start();
    let daemon = Containerd::over("recorded", stream.expect("must connect"))
        .await
        .expect("must answer");
    let cri = Cri::over(
        Runtime::Containerd,
        "recorded",
        other.expect("must connect"),
    )
    .await
    .expect("must answer");
    daemon.plugins().await.expect("must answer");
    load(&daemon.image_store()).await;
    ask(&cri).await;
    let release = daemon.version().await.expect("must answer");
    write(&release);
}

fn start() {
    *RECORDED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Default::default());
}

/// Writes the recording to the folder of the release and replaces the old one.
fn write(release: &str) {
    let files = RECORDED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let server: PathBuf = folder().join(format!("containerd-{}", release.trim_start_matches('v')));
    fs::remove_dir_all(&server).ok();
    fs::create_dir(&server).expect("must be made");
    for (name, bytes) in files.unwrap_or_default() {
        fs::write(server.join(name), bytes).expect("must be written");
    }
}

fn blob(media_type: &str, content: &[u8]) -> Blob {
    Blob {
        media_type: media_type.to_owned(),
        digest: format!("sha256:{}", sha256_hex(content)),
        size: i64::try_from(content.len()).expect("it must be short"),
    }
}

async fn put(store: &ImageStore, blob: &Blob, content: Vec<u8>) -> kubenest_base::Result<bool> {
    let pieces = Box::pin(stream::iter([Bytes::from(content)]));
    store.write_blob(blob, pieces).await
}

/// A blob with its content.
type Part = (Blob, Vec<u8>);

/// The layer, the configuration and the manifest of a small image.
fn image() -> (Part, Part, Part) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    let added = tar.append_data(&mut header, "file", &b"a\n"[..]);
    added.expect("must be made");
    let tar = tar.into_inner().expect("must be made");
    let layer = blob("application/vnd.oci.image.layer.v1.tar", &tar);
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/file"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]}});
    let config = config.to_string().into_bytes();
    let config_blob = blob("application/vnd.oci.image.config.v1+json", &config);
    let described = |blob: &Blob| json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size});
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type,
        "config": described(&config_blob), "layers": [described(&layer)]});
    let manifest = manifest.to_string().into_bytes();
    let target = blob(media_type, &manifest);
    ((layer, tar), (config_blob, config), (target, manifest))
}

/// Puts an image into the node and also provokes the refusals that an intake has to handle.
async fn load(store: &ImageStore) {
    let lifetime = Duration::from_secs(600);
    let labels = BTreeMap::from([(LABEL.to_owned(), "yes".to_owned())]);
    let leased = store.leased("recorded".into(), labels.clone(), lifetime);
    let store = leased.await.expect("must lease");
    assert_eq!(store.leases(LABEL).await.expect("must answer").len(), 1);

    let ((layer, tar), (config, config_json), (target, manifest)) = image();
    let cut = put(&store, &layer, tar[..512].to_vec()).await;
    assert!(cut.is_err(), "it ends early");
    let written = put(&store, &layer, tar).await;
    assert!(written.expect("must be written"));
    let chain = layer.digest.as_str();
    let other = store.unpack(SNAPSHOTTER, &layer, "sha256:other", ("", chain));
    assert!(other.await.is_err(), "it hashes to something else");
    let unpacked = store.unpack(SNAPSHOTTER, &layer, chain, ("", chain)).await;
    unpacked.expect("must be unpacked");
    let there = store.has_snapshot(SNAPSHOTTER, chain).await;
    assert!(there.expect("must answer"));

    let snapshot = format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}");
    let content = "containerd.io/gc.ref.content.config".to_owned();
    for (blob, bytes, label) in [
        (&config, config_json, (snapshot, chain.to_owned())),
        (&target, manifest, (content, config.digest.clone())),
    ] {
        put(&store, blob, bytes).await.expect("must be written");
        let labelled = store.label_blob(&blob.digest, BTreeMap::from([label]));
        labelled.await.expect("must be labelled");
    }
    let there = store.has_blob(&target.digest).await;
    assert!(there.expect("must answer"));

    let by_digest = format!("example.org/recorded@{}", target.digest);
    for name in [NAME, &by_digest] {
        let record = Record {
            name: name.to_owned(),
            labels: labels.clone(),
            target: Some(target.clone()),
        };
        store.put_record(record).await.expect("must be named");
    }
    let pinned = store.label_record(NAME, "io.cri-containerd.pinned", "pinned");
    pinned.await.expect("must be labelled");
    store.end(true).await.expect("must end");
}

/// Asks what the runtime has, and runs a pod that mounts an image.
async fn ask(cri: &Cri) {
    cri.version().await.expect("must answer");
    let status = cri.status(true).await.expect("must answer");
    assert!(!status.conditions().is_empty());
    let driver = cri.cgroup_driver().await.expect("must answer");
    cri.image_folders().await.expect("must answer");
    cri.images().await.expect("must answer");
    cri.containers().await.expect("must answer");
    wait::until(
        "CRI to see the image",
        Duration::from_secs(30),
        async || {
            let found = cri.image(NAME).await.expect("must answer");
            let found = found.filter(|image| !image.digests.is_empty());
            Probe::from_option(found, || "it has not both names".into())
        },
    )
    .await
    .expect("must be seen");
    let parent = match driver {
        Some(CgroupDriver::Cgroupfs) | None => "/kubelet",
        Some(CgroupDriver::Systemd) => "system.slice",
    };
    let config = PodConfig::on_the_node("recorded", parent);
    let pod = cri.run_pod(&config).await.expect("must run");
    assert!(cri.pod_runs(&pod).await);
    // Runtimes before containerd 2.1 refuse this call.
    let mounted = cri
        .create_with_volume(&pod, &config, NAME, Some("/never-started"))
        .await;
    println!("a volume of an image: {mounted:?}");
    cri.remove_pod(&pod).await.expect("must go");
    cri.remove_image(NAME).await.expect("must go");
}
