//! Loads images into nodes whose runtime is CRI-O. It takes no image over its socket, so skopeo,
//! in the node, puts a whole image into the store that both use.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::json;
use tokio_util::io::SyncIoBridge;

use super::{
    Load, Loads, NodeLoad, Pin,
    files::blob_name,
    manifest::{Image, Layer},
    pin::Pins,
    saved::Layers,
};
use kubenest_base::{
    Context, Result, progress,
    wait::{self, Probe},
};
use kubenest_node::node::{Node, containerd::Platform, cri::Cri};

/// How long CRI-O may take to see a new image and its pin.
const SEEN: Duration = Duration::from_secs(30);

/// Where a node has an image that is not in the store yet.
const FOLDER: &str = "/var/tmp/kubenest-load.XXXXXX";

/// A node that images are loaded into.
pub(super) struct Store<'a> {
    node: &'a Node,
    pub(super) cri: Cri,
    pins: Pins,
}

impl<'a> Store<'a> {
    pub(super) async fn open(node: &'a Node) -> Result<Self> {
        Ok(Self {
            node,
            cri: node.cri().await?,
            pins: Pins::of_crio(node),
        })
    }

    pub(super) fn node(&self) -> &str {
        self.node.name()
    }

    /// What the node's programs are built for, which CRI does not say.
    pub(super) async fn platform(&self) -> Result<Platform> {
        let machine = self.node.exec_ok(&["uname", "-m"]).await?.text();
        Ok(Platform {
            os: "linux".to_owned(),
            architecture: match machine.trim() {
                "x86_64" => "amd64".to_owned(),
                "aarch64" => "arm64".to_owned(),
                other => other.to_owned(),
            },
            variant: String::new(),
        })
    }

    /// Whether the node has the image by every name, pinned.
    async fn has(&self, image: &Image) -> Result<bool> {
        for name in &image.names {
            let found = self.cri.image(name).await?;
            if !found.is_some_and(|found| found.pinned && is_id(&found.id, image)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn load(&self, image: &Image, layers: &Arc<dyn Layers>) -> Result<NodeLoad> {
        let begun = Instant::now();
        let blobs = image.blobs();
        let sent = match self.has(image).await? {
            true => None,
            false => {
                let folder = self.node.exec_ok(&["mktemp", "-d", FOLDER]).await?.text();
                let folder = folder.trim();
                let copied = self.copy(image, layers, folder).await;
                let removed = self.node.exec_ok(&["rm", "-rf", folder]).await;
                let sent = copied?;
                removed?;
                self.pins.set(&image.names, true).await?;
                self.wait_until_seen(image).await?;
                Some(sent)
            }
        };
        let sent_blobs = sent.map_or(0, |_| blobs);
        Ok(NodeLoad {
            node: self.node().to_owned(),
            sent_bytes: sent.unwrap_or(0),
            sent_blobs,
            skipped_blobs: blobs - sent_blobs,
            seconds: begun.elapsed().as_secs_f64(),
            pin: Pin::Held,
        })
    }

    /// Puts the image into the store by all its names; returns how many bytes were sent.
    async fn copy(&self, image: &Image, layers: &Arc<dyn Layers>, folder: &str) -> Result<u64> {
        let (reader, writer) = tokio::io::duplex(1 << 20);
        let mut writer = SyncIoBridge::new(writer);
        let (shared, source) = (image.clone(), Arc::clone(layers));
        let packing = tokio::task::spawn_blocking(move || {
            let packed = write_layout(&shared, &*source, &mut writer);
            writer.shutdown().ok();
            packed
        });
        let unpack = ["tar", "-C", folder, "-xf", "-"];
        let docker = self.node.docker();
        let unpacked = docker
            .exec_reading(self.node(), &unpack, Some(reader))
            .await;
        let unpacked = unpacked.and_then(|output| output.demand(self.node(), &unpack));
        // Each side breaks off when the other does, so both have to say what they saw.
        let sent = match packing.await.context("pack an image")? {
            Err(error) => return unpacked.with_context(|| error.report()).and(Err(error)),
            Ok(sent) => sent,
        };
        unpacked?;
        let from = format!("oci:{folder}");
        for name in &image.names {
            let to = format!("containers-storage:{name}");
            let copy = ["skopeo", "copy", "--quiet", &from, &to];
            self.node.exec_ok(&copy).await?;
        }
        Ok(sent)
    }

    async fn wait_until_seen(&self, image: &Image) -> Result<()> {
        for name in &image.names {
            let what = format!("CRI of node '{}' to see '{name}'", self.node());
            wait::until(&what, SEEN, async || match self.cri.image(name).await {
                Ok(Some(found)) if !is_id(&found.id, image) => {
                    Probe::Pending(format!("it as {}", found.id))
                }
                Ok(Some(found)) if !found.pinned => Probe::Pending("it, not pinned".into()),
                Ok(Some(_)) => Probe::Ready(()),
                Ok(None) => Probe::Pending("nothing of that name".into()),
                Err(error) => Probe::Failed(error),
            })
            .await?;
        }
        Ok(())
    }
}

/// Whether CRI's id is that of the image: CRI-O leaves the algorithm out.
fn is_id(id: &str, image: &Image) -> bool {
    let digest = &image.config.blob.digest;
    digest == id || digest.strip_prefix("sha256:") == Some(id)
}

/// Loads images into all nodes at once.
pub(super) async fn load(
    stores: &[Store<'_>],
    images: &[Image],
    layers: &Arc<dyn Layers>,
) -> Result<Load> {
    let mut loads = Loads::default();
    for image in images {
        let names = image.names.join("', '");
        progress!("loading '{names}' into {} nodes", stores.len());
        let nodes = stores.iter().map(async |store| {
            let loaded = store.load(image, layers).await;
            loaded.with_context(|| format!("load '{names}' into node '{}'", store.node()))
        });
        let loaded = try_join_all(nodes).await;
        loads.add(loaded.map(|nodes| Load::new(&image.names, nodes)))?;
    }
    loads.sum(&layers.place())
}

/// Writes a tar of an OCI layout with one image; returns the size of its blobs.
fn write_layout(image: &Image, layers: &dyn Layers, to: &mut impl Write) -> Result<u64> {
    let mut archive = tar::Builder::new(to);
    let manifest = &image.manifest.blob;
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": manifest.size,
        }],
    });
    let mut sent = 0;
    let version = json!({"imageLayoutVersion": "1.0.0"}).to_string();
    for (name, bytes) in [("oci-layout", version), ("index.json", index.to_string())] {
        append(&mut archive, name, bytes.len() as u64, bytes.as_bytes())?;
    }
    for json in [&image.manifest, &image.config] {
        let size = json.bytes.len() as u64;
        append(
            &mut archive,
            &blob_name(&json.blob.digest),
            size,
            &*json.bytes,
        )?;
        sent += size;
    }
    let mut written = BTreeSet::new();
    for layer in &image.layers {
        if written.insert(&layer.blob.digest) {
            sent += append_layer(&mut archive, layer, layers)?;
        }
    }
    archive.finish().context("pack an image")?;
    Ok(sent)
}

fn append_layer(
    archive: &mut tar::Builder<impl Write>,
    layer: &Layer,
    layers: &dyn Layers,
) -> Result<u64> {
    let digest = &layer.blob.digest;
    let reader = layers
        .open(layer)?
        .ok_or_else(|| layers.absent(&format!("layer {digest}")))?;
    let size = u64::try_from(layer.blob.size).unwrap_or(0);
    append(archive, &blob_name(digest), size, reader)?;
    Ok(size)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    bytes: impl Read,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, name, bytes)
        .with_context(|| format!("pack '{name}'"))
}
