//! Loads one image into several nodes: its layers are read once and sent to each node that lacks
//! them.

use std::{
    collections::{BTreeSet, HashSet},
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use kubenest_base::digest::{Sha256, hex};
use tokio::sync::mpsc;

use super::{
    Load, NodeLoad,
    manifest::{Image, Layer, broken},
    saved::Layers,
    target::{ImageKey, Piece, Session, Target},
};
use kubenest_base::{Context, Result, progress};

/// Bytes of one piece.
const PIECE: usize = 1 << 20;

/// Pieces that may wait for a slow node before the source waits too.
pub(super) const WAITING: usize = 4;

/// How often a long load reports its progress.
const PACE: Duration = Duration::from_secs(3);

/// What a node has of an image, and what it must be sent.
struct Needs {
    unpacked: usize,
    digests: HashSet<String>,
}

/// Loads an image whose parts are all known.
pub(super) async fn load(
    targets: &[Target],
    image: Image,
    layers: Arc<dyn Layers>,
) -> Result<Load> {
    let since = Instant::now();
    let wanted = ImageKey::of(&image);
    let sessions = begin(targets, &wanted).await?;
    let names = image.names.clone();
    let blobs = image.blobs();
    let loaded = deliver(sessions, image, layers).await?;
    Ok(report(targets, &names, blobs, loaded, since))
}

/// Refuses an image that cannot become complete on a node, because a layer is neither there nor in
/// the source. Nothing is written to find out.
pub(super) async fn check(
    targets: &[Target],
    image: &Image,
    layers: &Arc<dyn Layers>,
) -> Result<()> {
    let (wanted, source) = (image.layers.clone(), Arc::clone(layers));
    let look = tokio::task::spawn_blocking(move || {
        let mut absent = Vec::new();
        for layer in &wanted {
            if source.open(layer)?.is_none() {
                absent.push(layer.blob.digest.clone());
            }
        }
        Ok(absent)
    });
    let absent: Vec<String> = look.await.context("look for layers").flatten()?;
    if absent.is_empty() {
        return Ok(());
    }
    for target in targets {
        let lacking = target.lacks(image, &absent).await?;
        if !lacking.is_empty() {
            let (lacking, node) = (lacking.join(", layer "), &target.node);
            let names = image.names.join("', '");
            let parts = format!("layer {lacking} of '{names}', as does node '{node}'");
            return Err(layers.absent(&parts));
        }
    }
    Ok(())
}

/// Begins a session with each node that does not have the image.
pub(super) async fn begin<'t>(
    targets: &'t [Target],
    wanted: &ImageKey,
) -> Result<Vec<Session<'t>>> {
    let has = try_join_all(targets.iter().map(|target| target.has(wanted))).await?;
    let lacking = targets.iter().zip(has).filter(|(_, has)| !has);
    try_join_all(lacking.map(|(target, _)| target.begin())).await
}

/// The loads of all nodes, in the order of the nodes.
pub(super) fn report(
    targets: &[Target],
    names: &[String],
    blobs: usize,
    mut loaded: Vec<NodeLoad>,
    since: Instant,
) -> Load {
    let nodes = targets.iter().map(|target| {
        match loaded.iter().position(|load| load.node == target.node) {
            Some(at) => loaded.swap_remove(at),
            None => target.unchanged(blobs, since),
        }
    });
    let nodes = nodes.collect();
    Load::new(names, nodes)
}

/// Sends the image to the nodes of these sessions, and ends them.
pub(super) async fn deliver(
    sessions: Vec<Session<'_>>,
    image: Image,
    layers: Arc<dyn Layers>,
) -> Result<Vec<NodeLoad>> {
    let needs = join_all(sessions.iter().map(|session| needs(session, &image))).await;
    let needs = match needs.into_iter().collect::<Result<Vec<_>>>() {
        Ok(needs) => needs,
        Err(error) => {
            give_up(&sessions).await;
            return Err(error);
        }
    };
    announce(&image, &needs);
    let image = Arc::new(image);
    let (senders, receivers): (Vec<_>, Vec<_>) =
        sessions.iter().map(|_| mpsc::channel(WAITING)).unzip();
    let wants = needs
        .iter()
        .map(|needs| needs.digests.clone())
        .zip(senders)
        .collect();
    let shared = Arc::clone(&image);
    let feeding = tokio::task::spawn_blocking(move || feed(&shared, &*layers, wants));
    let taking = sessions.iter().zip(needs).zip(receivers);
    let taking = taking.map(|((session, needs), pieces)| take(session, &image, needs, pieces));
    let (fed, taken) = tokio::join!(feeding, join_all(taking));
    // When the source breaks off, its receivers fail too; the source's error is the cause.
    fed.context("read layers")??;
    taken.into_iter().collect()
}

/// Ends sessions that loaded nothing; the nodes are as before.
pub(super) async fn give_up(sessions: &[Session<'_>]) {
    for ended in join_all(sessions.iter().map(|session| session.end(true))).await {
        if let Err(error) = ended {
            tracing::debug!("{}", error.report());
        }
    }
}

async fn needs(session: &Session<'_>, image: &Image) -> Result<Needs> {
    let chains = image.layers.iter().map(|layer| layer.chain.as_str());
    let unpacked = session.unpacked(chains).await?;
    let mut digests = HashSet::new();
    for layer in &image.layers[unpacked..] {
        let digest = &layer.blob.digest;
        if !digests.contains(digest) && !session.has_blob(digest).await? {
            digests.insert(digest.clone());
        }
    }
    Ok(Needs { unpacked, digests })
}

/// One node's part of a load: receives, unpacks and names the image. The session is ended whatever
/// the result.
async fn take(
    session: &Session<'_>,
    image: &Image,
    needs: Needs,
    pieces: mpsc::Receiver<Piece>,
) -> Result<NodeLoad> {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let work = async {
        let Needs { unpacked, digests } = needs;
        tokio::try_join!(
            session.receive(pieces, arrived),
            session.unpack(image, unpacked, digests, arrivals)
        )?;
        session.finish(image).await
    };
    let done = work.await;
    let ended = session.end(done.is_err()).await;
    let node = &session.target.node;
    let done =
        done.with_context(|| format!("load '{}' into node '{node}'", image.names.join("', '")))?;
    ended?;
    Ok(done)
}

/// Reads each layer that any node lacks, the lowest first, and passes it on. A slow node is waited
/// for; a node that is gone is left out.
fn feed(
    image: &Image,
    layers: &dyn Layers,
    mut wants: Vec<(HashSet<String>, mpsc::Sender<Piece>)>,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    let wanted = image.layers.iter().filter(|layer| {
        let digest = &layer.blob.digest;
        wants.iter().any(|(wants, _)| wants.contains(digest)) && seen.insert(digest.clone())
    });
    let wanted: Vec<&Layer> = wanted.collect();
    for layer in &wanted {
        // A layer that cannot be opened must fail before anything is sent.
        open(layers, layer)?;
    }
    let mut gauge = Gauge::new(image, &wanted);
    'layers: for layer in wanted {
        let takers = |(wants, _): &(HashSet<String>, _)| wants.contains(&layer.blob.digest);
        let mut pass = |piece: Piece| {
            wants.retain(|want| !takers(want) || want.1.blocking_send(piece.clone()).is_ok());
            wants.iter().any(takers)
        };
        pass(Piece::Begin(layer.blob.clone()));
        let mut reader = open(layers, layer)?;
        let mut hash = Sha256::new();
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let part = reader.by_ref().take(PIECE as u64);
            let read = { part }.read_to_end(&mut piece).with_context(|| {
                format!("read layer {} of {}", layer.blob.digest, layers.place())
            })?;
            if read == 0 {
                break;
            }
            hash.update(&piece);
            gauge.add(read);
            if !pass(Piece::Data(Bytes::from(piece))) {
                // All receivers of this layer have failed, and report that themselves.
                continue 'layers;
            }
        }
        let found = format!("sha256:{}", hex(&hash.finish()));
        if found != layer.blob.digest {
            return Err(broken(format!(
                "layer {} of {} is corrupt: it has digest {found}",
                layer.blob.digest,
                layers.place()
            )));
        }
    }
    Ok(())
}

fn open<'l>(layers: &'l dyn Layers, layer: &Layer) -> Result<super::files::Reader<'l>> {
    layers.open(layer)?.ok_or_else(|| {
        let digest = &layer.blob.digest;
        layers.absent(&format!("layer {digest}, as does a node"))
    })
}

/// Reports the progress of a load.
struct Gauge {
    name: String,
    read: u64,
    total: u64,
    told: Instant,
}

impl Gauge {
    fn new(image: &Image, layers: &[&Layer]) -> Self {
        let sizes = layers.iter().map(|layer| layer.blob.size);
        Self {
            name: image.names.first().cloned().unwrap_or_default(),
            read: 0,
            total: u64::try_from(sizes.sum::<i64>()).unwrap_or(0),
            told: Instant::now(),
        }
    }

    fn add(&mut self, read: usize) {
        self.read += read as u64;
        if self.told.elapsed() > PACE {
            self.told = Instant::now();
            progress!(
                "loading {}: {} of {}",
                self.name,
                mib(self.read),
                mib(self.total)
            );
        }
    }
}

fn announce(image: &Image, needs: &[Needs]) {
    let wanted = |layer: &&Layer| {
        needs
            .iter()
            .any(|needs| needs.digests.contains(&layer.blob.digest))
    };
    let sizes: Vec<i64> = image
        .layers
        .iter()
        .filter(wanted)
        .map(|layer| layer.blob.size)
        .collect();
    if !needs.is_empty() {
        progress!(
            "loading {} into {}: {} of {}, {}",
            image.names.join(", "),
            count(needs.len(), "node"),
            sizes.len(),
            count(image.layers.len(), "layer"),
            mib(u64::try_from(sizes.iter().sum::<i64>()).unwrap_or(0))
        );
    }
}

/// A number with its noun, such as `1 node` and `2 nodes`.
pub(super) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A size such as `1.5 MiB`.
pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests;
