//! Layers are passed on to several receivers at once.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    files::Reader,
    manifest::{Descriptor, Layer},
};
use kubenest_base::digest::sha256_hex;

/// Layers in memory, and how often each was opened.
#[derive(Default)]
struct InMemory {
    layers: HashMap<String, Vec<u8>>,
    read: AtomicUsize,
}

impl Layers for InMemory {
    fn open(&self, layer: &Layer) -> Result<Option<Reader<'_>>> {
        let Some(bytes) = self.layers.get(&layer.blob.digest) else {
            return Ok(None);
        };
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Box::new(bytes.as_slice())))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

/// An image whose layers have these bytes.
fn image(contents: &[Vec<u8>]) -> (Image, InMemory) {
    let digest = |bytes: &Vec<u8>| format!("sha256:{}", sha256_hex(bytes));
    let diff_ids: Vec<String> = contents.iter().map(digest).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids},
    });
    let layers: Vec<Descriptor> = contents
        .iter()
        .zip(&diff_ids)
        .map(|(bytes, id)| Descriptor::layer(id.clone(), bytes.len() as u64, ""))
        .collect();
    let image = Image::made(config.to_string().into_bytes(), &layers).unwrap();
    let layers = diff_ids.into_iter().zip(contents.iter().cloned()).collect();
    let memory = InMemory {
        layers,
        ..InMemory::default()
    };
    (image, memory)
}

fn digests(image: &Image) -> HashSet<String> {
    image
        .layers
        .iter()
        .map(|layer| layer.blob.digest.clone())
        .collect()
}

/// The blobs that a receiver got, one entry for each.
async fn got(mut pieces: mpsc::Receiver<Piece>, pause: bool) -> Vec<Vec<u8>> {
    let mut blobs = Vec::new();
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Begin(_) => blobs.push(Vec::new()),
            Piece::Data(data) => blobs.last_mut().expect("must have begun").extend(data),
        }
        if pause {
            kubenest_base::wait::pace(Duration::from_millis(2)).await;
        }
    }
    blobs
}

async fn pass(
    image: Image,
    layers: InMemory,
    wants: Vec<(HashSet<String>, mpsc::Sender<Piece>)>,
) -> (Result<()>, usize) {
    let feeding = tokio::task::spawn_blocking(move || {
        let fed = feed(&image, &layers, wants);
        (fed, layers.read.into_inner())
    });
    feeding.await.unwrap()
}

fn big(byte: u8) -> Vec<u8> {
    vec![byte; 3 * PIECE + 7]
}

#[tokio::test]
async fn a_slow_node_loses_nothing_and_each_gets_what_it_lacks() {
    let contents = [big(1), b"small".to_vec(), big(2)];
    let (image, memory) = image(&contents);
    let upper = HashSet::from([image.layers[2].blob.digest.clone()]);
    let (fast, quick) = mpsc::channel(WAITING);
    let (slow, late) = mpsc::channel(1);
    let wants = vec![(upper, fast), (digests(&image), slow)];
    let (fed, quick, late) = tokio::join!(
        pass(image, memory, wants),
        got(quick, false),
        got(late, true)
    );
    fed.0.unwrap();
    assert_eq!(quick, [big(2)]);
    assert_eq!(late, contents);
    assert_eq!(fed.1, 6, "looked for, then read once for all nodes");
}

#[tokio::test]
async fn a_node_that_is_gone_does_not_hold_up_the_others() {
    let (image, memory) = image(&[big(1), big(2)]);
    let (gone, dropped) = mpsc::channel(WAITING);
    drop(dropped);
    let (there, pieces) = mpsc::channel(WAITING);
    let wants = vec![(digests(&image), gone), (digests(&image), there)];
    let (fed, blobs) = tokio::join!(pass(image, memory, wants), got(pieces, false));
    fed.0.unwrap();
    assert_eq!(blobs, [big(1), big(2)]);
}

#[tokio::test]
async fn a_source_that_nobody_takes_is_not_read_to_its_end() {
    let (image, mut memory) = image(&[big(1)]);
    // This layer would be found corrupt if it were read to its end.
    let digest = image.layers[0].blob.digest.clone();
    memory.layers.insert(digest, big(2));
    let (gone, dropped) = mpsc::channel(WAITING);
    drop(dropped);
    let wants = vec![(digests(&image), gone)];
    pass(image, memory, wants).await.0.unwrap();
}

#[tokio::test]
async fn a_corrupt_layer_is_told_as_the_sources_fault() {
    let (image, mut memory) = image(&[b"fine".to_vec(), big(2)]);
    let upper = image.layers[1].blob.digest.clone();
    memory.layers.insert(upper.clone(), big(3));
    let (sender, pieces) = mpsc::channel(WAITING);
    let wants = vec![(digests(&image), sender)];
    let (fed, _) = tokio::join!(pass(image, memory, wants), got(pieces, false));
    let error = fed.0.unwrap_err();
    let told = format!("layer {upper} of memory is corrupt: it has digest ");
    assert!(error.to_string().starts_with(&told), "{error}");
    assert!(error.cure_text().is_some());
}

#[tokio::test]
async fn nothing_is_sent_when_a_layer_is_missing() {
    let (image, mut memory) = image(&[big(1), b"gone".to_vec()]);
    memory.layers.remove(&image.layers[1].blob.digest);
    let (sender, pieces) = mpsc::channel(WAITING);
    let wants = vec![(digests(&image), sender)];
    let (fed, blobs) = tokio::join!(pass(image, memory, wants), got(pieces, false));
    assert!(
        fed.0
            .unwrap_err()
            .to_string()
            .starts_with("memory lacks layer sha256:")
    );
    assert!(blobs.is_empty());
}

#[tokio::test]
async fn a_layer_that_comes_twice_is_sent_once() {
    let (image, memory) = image(&[big(1), big(1)]);
    let (sender, pieces) = mpsc::channel(WAITING);
    let wants = vec![(digests(&image), sender)];
    let (fed, blobs) = tokio::join!(pass(image, memory, wants), got(pieces, false));
    fed.0.unwrap();
    assert_eq!(blobs, [big(1)]);
}
