//! One node that images are loaded into: what it has, and one load into it from begin to end.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::stream;
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    NodeLoad, Pin,
    manifest::{Image, Json},
    pin::{PINNED, has_pin, heeds_pins},
};
use kubenest_base::{
    Context, Error, Result,
    wait::{self, Probe},
};
use kubenest_docker::{Labels, Liveness, Owner, labels::OWNER};
use kubenest_node::node::{
    Node,
    containerd::{ImageStore, Platform, Record},
    cri::Cri,
};

/// The label with the engine's id of an image, if the configuration does not give that id.
const ORIGIN: &str = "dev.kubenest.origin";

/// How long a load may take before containerd treats it as abandoned.
const LEASE: Duration = Duration::from_secs(60 * 60);

/// How long CRI may take to see a new record.
const SEEN: Duration = Duration::from_secs(30);

/// The parts of an image that show whether a node has it.
#[derive(Debug)]
pub(super) struct ImageKey {
    pub(super) names: Vec<String>,
    /// The source's id of the image.
    pub(super) id: String,
    /// The snapshot of all its layers.
    pub(super) chain: Option<String>,
}

/// A part of the data that is sent to a node.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// A blob begins.
    Begin(kubenest_node::node::containerd::Blob),
    /// Its next bytes.
    Data(Bytes),
}

/// A node's containerd.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) node: String,
    /// The labels of everything that a load makes in the node.
    labels: Labels,
    pub(super) platform: Platform,
    store: ImageStore,
    pub(super) cri: Cri,
    snapshotter: String,
    /// The daemon respects the label [`PINNED`].
    pins: bool,
}

/// A load into a node, from its begin: a lease holds all that it makes.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) target: &'a Target,
    store: ImageStore,
    begun: Instant,
    /// Bytes and blobs sent.
    sent: (AtomicU64, AtomicU64),
    ended: AtomicBool,
}

/// A load that is dropped before its end: what it wrote is removed.
impl Drop for Session<'_> {
    fn drop(&mut self) {
        if *self.ended.get_mut() {
            return;
        }
        let store = self.store.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.end(true).await {
                    tracing::debug!("{}", error.report());
                }
            });
        }
    }
}

impl ImageKey {
    pub(super) fn of(image: &Image) -> Self {
        Self {
            names: image.names.clone(),
            id: image.config.blob.digest.clone(),
            chain: image.chain().map(str::to_owned),
        }
    }
}

impl Target {
    pub(super) async fn open(node: &Node) -> Result<Self> {
        let (daemon, cri) = tokio::try_join!(node.containerd(), node.cri())?;
        let name = node.name();
        let folders = cri.image_folders().await?;
        let snapshotter = folders
            .first()
            .and_then(|folder| folder.rsplit_once("io.containerd.snapshotter.v1."))
            .map(|(_, name)| name.to_owned())
            .ok_or_else(|| {
                Error::setup(format!(
                    "CRI of node '{name}' names no snapshotter: {folders:?}"
                ))
            })?;
        let plugins = daemon.plugins().await?;
        let mut plugins = plugins.into_iter();
        let platform = plugins
            .find(|row| row.kind == "io.containerd.snapshotter.v1" && row.id == snapshotter)
            .and_then(|row| row.platforms.into_iter().next())
            .ok_or_else(|| {
                Error::setup(format!("containerd of node '{name}' tells no platform"))
            })?;
        Ok(Self {
            node: name.to_owned(),
            labels: node.docker().labels("image-load"),
            platform,
            store: daemon.image_store(),
            pins: heeds_pins(&daemon.version().await?),
            cri,
            snapshotter,
        })
    }

    /// Which of the layers that the source lacks are also absent on the node.
    pub(super) async fn lacks(&self, image: &Image, absent: &[String]) -> Result<Vec<String>> {
        let mut lacking = Vec::new();
        for layer in image.layers.iter().rev() {
            let chain = &layer.chain;
            if self.store.has_snapshot(&self.snapshotter, chain).await? {
                break;
            }
            let digest = &layer.blob.digest;
            if absent.contains(digest) && !self.store.has_blob(digest).await? {
                lacking.push(digest.clone());
            }
        }
        Ok(lacking)
    }

    /// Whether the node has the image: by every name, unpacked, and pinned if that is possible.
    pub(super) async fn has(&self, wanted: &ImageKey) -> Result<bool> {
        for name in &wanted.names {
            let Some(found) = self.cri.image(name).await? else {
                return Ok(false);
            };
            // CRI sees changes of a record by other clients only a moment later, so the record
            // itself is read.
            let Some(record) = self.store.record(name).await? else {
                return Ok(false);
            };
            if self.pins && !(found.pinned && has_pin(&record)) {
                return Ok(false);
            }
            let origin = origin_label(&wanted.id, &found.id);
            if found.id != wanted.id && record.labels.get(ORIGIN) != Some(&origin) {
                return Ok(false);
            }
        }
        match &wanted.chain {
            Some(chain) => self.store.has_snapshot(&self.snapshotter, chain).await,
            None => Ok(true),
        }
    }

    /// The report of a load that had nothing to do.
    pub(super) fn unchanged(&self, image_blobs: usize, since: Instant) -> NodeLoad {
        NodeLoad {
            node: self.node.clone(),
            sent_bytes: 0,
            sent_blobs: 0,
            skipped_blobs: image_blobs,
            seconds: since.elapsed().as_secs_f64(),
            pin: self.pin(),
        }
    }

    /// Begins a load. Leases that dead processes left are removed.
    pub(super) async fn begin(&self) -> Result<Session<'_>> {
        let begun = Instant::now();
        for lease in self.store.leases(OWNER).await? {
            let owner = lease
                .labels
                .get(OWNER)
                .and_then(|text| text.parse::<Owner>().ok());
            if owner.is_some_and(|owner| owner.liveness() == Liveness::Dead) {
                self.store.end_lease(&lease.id, true).await?;
            }
        }
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (owner, count) = (Owner::current(), COUNT.fetch_add(1, Ordering::Relaxed));
        let id = format!("kubenest-{}-{count}", owner.to_string().replace('/', "-"));
        let labels = self.labels.clone().lifetime(LEASE).map();
        Ok(Session {
            target: self,
            store: self
                .store
                .leased(id, labels.into_iter().collect(), LEASE)
                .await?,
            begun,
            sent: Default::default(),
            ended: AtomicBool::new(false),
        })
    }

    fn pin(&self) -> Pin {
        if self.pins { Pin::Held } else { Pin::Ignored }
    }
}

/// Every method fails when the node's containerd does not answer or refuses.
impl Session<'_> {
    /// How many of these chains, counted from the lowest, are unpacked.
    pub(super) async fn unpacked<'c>(
        &self,
        chains: impl DoubleEndedIterator<Item = &'c str> + ExactSizeIterator,
    ) -> Result<usize> {
        for (at, chain) in chains.enumerate().rev() {
            let store = &self.store;
            if store.has_snapshot(&self.target.snapshotter, chain).await? {
                return Ok(at + 1);
            }
        }
        Ok(0)
    }

    /// Whether the node has the blob; if so, the lease keeps it until the load has ended.
    pub(super) async fn has_blob(&self, digest: &str) -> Result<bool> {
        self.store.has_blob(digest).await
    }

    /// Receives blobs as they come. The digest of each complete blob is sent to `arrived`.
    pub(super) async fn receive(
        &self,
        mut pieces: mpsc::Receiver<Piece>,
        arrived: mpsc::UnboundedSender<String>,
    ) -> Result<()> {
        while let Some(piece) = pieces.recv().await {
            // Data of a blob that the node had already is skipped.
            let Piece::Begin(blob) = piece else { continue };
            let data = stream::poll_fn(|context| {
                pieces.poll_recv(context).map(|piece| match piece {
                    Some(Piece::Data(data)) => Some(data),
                    _ => None,
                })
            });
            if self.store.write_blob(&blob, data).await? {
                self.count(blob.size);
            }
            arrived.send(blob.digest).ok();
        }
        Ok(())
    }

    /// Unpacks the layers above the lowest `unpacked`, each as soon as it has arrived.
    pub(super) async fn unpack(
        &self,
        image: &Image,
        unpacked: usize,
        mut pending: HashSet<String>,
        mut arrived: mpsc::UnboundedReceiver<String>,
    ) -> Result<()> {
        let snapshotter = &self.target.snapshotter;
        for (at, layer) in image.layers.iter().enumerate().skip(unpacked) {
            let (digest, diff_id) = (&layer.blob.digest, &layer.diff_id);
            while pending.contains(digest) {
                let came = arrived.recv().await;
                let came = came.ok_or_else(|| Error::setup(format!("layer {digest} did not come")));
                pending.remove(&came?);
            }
            let below = at.checked_sub(1).map(|below| &image.layers[below]);
            let parent = below.map_or("", |layer| layer.chain.as_str());
            let store = &self.store;
            store
                .unpack(snapshotter, &layer.blob, diff_id, (parent, &layer.chain))
                .await
                .with_context(|| format!("unpack layer {digest}"))?;
            if digest != diff_id {
                let label = ("containerd.io/uncompressed".to_owned(), diff_id.clone());
                store.label_blob(digest, BTreeMap::from([label])).await?;
            }
        }
        Ok(())
    }

    /// Gives the image its names, pinned, and waits until CRI reports it so.
    pub(super) async fn finish(&self, image: &Image) -> Result<NodeLoad> {
        let chain = image.chain().map(|chain| {
            let key = format!("containerd.io/gc.ref.snapshot.{}", self.target.snapshotter);
            (key, chain.to_owned())
        });
        self.put(&image.config, chain.into_iter().collect()).await?;
        let config = ("config".to_owned(), image.config.blob.digest.clone());
        let layers = image.layers.iter().enumerate();
        let layers = layers.map(|(at, layer)| (format!("l.{at}"), layer.blob.digest.clone()));
        let content = layers.chain([config]);
        let content =
            content.map(|(key, digest)| (format!("containerd.io/gc.ref.content.{key}"), digest));
        self.put(&image.manifest, content.collect()).await?;

        let id = &image.config.blob.digest;
        let mut labels = BTreeMap::from([(PINNED.0.to_owned(), PINNED.1.to_owned())]);
        if let Some(origin) = &image.origin {
            labels.insert(ORIGIN.to_owned(), origin_label(origin, id));
        }
        for name in &image.names {
            let record = Record {
                name: name.clone(),
                labels: labels.clone(),
                target: Some(image.manifest.blob.clone()),
            };
            self.store.put_record(record).await?;
        }
        for name in &image.names {
            self.wait_for_cri(name, id).await?;
        }
        let sent_blobs = self.sent.1.load(Ordering::Relaxed);
        let sent_blobs = usize::try_from(sent_blobs).unwrap_or(usize::MAX);
        Ok(NodeLoad {
            node: self.target.node.clone(),
            sent_bytes: self.sent.0.load(Ordering::Relaxed),
            sent_blobs,
            skipped_blobs: image.blobs().saturating_sub(sent_blobs),
            seconds: self.begun.elapsed().as_secs_f64(),
            pin: self.target.pin(),
        })
    }

    /// Ends the lease. Everything without a name is then garbage; with `sync` it is removed at
    /// once.
    pub(super) async fn end(&self, sync: bool) -> Result<()> {
        let ended = self.store.end(sync).await;
        self.ended.store(true, Ordering::Relaxed);
        ended
    }

    async fn put(&self, json: &Json, labels: BTreeMap<String, String>) -> Result<()> {
        let data = stream::iter([Bytes::from(json.bytes.clone())]);
        if self.store.write_blob(&json.blob, data).await? {
            self.count(json.blob.size);
        }
        if labels.is_empty() {
            return Ok(());
        }
        self.store.label_blob(&json.blob.digest, labels).await
    }

    async fn wait_for_cri(&self, name: &str, id: &str) -> Result<()> {
        let Target { cri, pins, .. } = self.target;
        let what = format!("CRI of node '{}' to see '{name}'", self.target.node);
        wait::until(&what, SEEN, async || match cri.image(name).await {
            Ok(Some(image)) if image.id != id => Probe::Pending(format!("it as {}", image.id)),
            Ok(Some(image)) if *pins && !image.pinned => Probe::Pending("it, not pinned".into()),
            Ok(Some(_)) => Probe::Ready(()),
            Ok(None) => Probe::Pending("nothing of that name".into()),
            Err(error) => Probe::Failed(error),
        })
        .await
    }

    fn count(&self, size: i64) {
        let size = u64::try_from(size).unwrap_or(0);
        self.sent.0.fetch_add(size, Ordering::Relaxed);
        self.sent.1.fetch_add(1, Ordering::Relaxed);
    }
}

fn origin_label(origin: &str, id: &str) -> String {
    format!("{origin} {id}")
}
