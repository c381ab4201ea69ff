//! Loads an image while the engine streams it: blobs that nodes lack are passed on as they arrive.
//!
//! Which blobs belong to the image is known only when all have passed. Documents are kept in
//! memory. Of the other blobs, those that no node lacks are skipped. A blob that was sent in vain,
//! such as one of another platform, is removed with the session's lease.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    path::Path,
};

use bytes::Bytes;
use futures::{
    Stream,
    future::{join_all, try_join_all},
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    deliver::WAITING,
    files::{Memory, clean},
    manifest::{JSON_LIMIT, broken, chains},
    reference::is_digest,
    target::{Piece, Session},
};
use kubenest_base::{Context, Result};
use kubenest_node::node::containerd::Blob;

/// The most bytes that all documents of one image may take.
const MEMORY_LIMIT: u64 = 64 << 20;

/// Bytes of one piece.
const PIECE: u64 = 1 << 20;

/// Asks which nodes need a blob of the stream.
struct Question {
    blob: Blob,
    /// Receives, for each session, whether it lacks the blob.
    answer: tokio::sync::oneshot::Sender<Vec<bool>>,
}

/// Passes on the blobs of the stream, and returns the documents.
pub(super) async fn read(
    stream: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin + 'static,
    sessions: &[Session<'_>],
    diff_ids: &[String],
    place: String,
) -> Result<Memory> {
    let chains = chains(diff_ids)?;
    let unpacked = sessions
        .iter()
        .map(|session| session.unpacked(chains.iter().map(String::as_str)));
    // Where layers are not compressed, their blobs are named by their diff ids.
    let unpacked: Vec<HashSet<&str>> = try_join_all(unpacked)
        .await?
        .into_iter()
        .map(|count| diff_ids[..count].iter().map(String::as_str).collect())
        .collect();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        sessions.iter().map(|_| mpsc::channel(WAITING)).unzip();
    let (questions, mut asked) = mpsc::channel::<Question>(1);
    let reader = SyncIoBridge::new_with_handle(StreamReader::new(stream), Handle::current());
    let reading = tokio::task::spawn_blocking(move || pass(reader, &place, &questions, &senders));
    let answering = async {
        while let Some(Question { blob, answer }) = asked.recv().await {
            let lacks = sessions
                .iter()
                .zip(&unpacked)
                .map(async |(session, unpacked)| {
                    Ok(!unpacked.contains(blob.digest.as_str())
                        && !session.has_blob(&blob.digest).await?)
                });
            answer.send(try_join_all(lacks).await?).ok();
        }
        Ok(())
    };
    let (ignored, _) = mpsc::unbounded_channel();
    let taking = sessions.iter().zip(receivers);
    let taking = join_all(taking.map(|(session, pieces)| session.receive(pieces, ignored.clone())));
    let (read, answered, taken): (_, Result<()>, _) = tokio::join!(reading, answering, taking);
    let read = read.context("read an image")?;
    // An error of a node or the daemon comes first, because it causes the error of the source.
    answered?;
    let memory = read?;
    taken.into_iter().collect::<Result<Vec<()>>>()?;
    Ok(memory)
}

fn pass(
    reader: impl Read,
    place: &str,
    questions: &mpsc::Sender<Question>,
    senders: &[mpsc::Sender<Piece>],
) -> Result<Memory> {
    let what = || format!("read {place}");
    let mut files = HashMap::new();
    let mut kept = 0;
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().with_context(what)? {
        let mut entry = entry.with_context(what)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let size = entry.size();
        let name = name(&entry.path().with_context(what)?)?;
        let mut first = Vec::new();
        entry
            .by_ref()
            .take(1)
            .read_to_end(&mut first)
            .with_context(what)?;
        if size <= JSON_LIMIT && (first == b"{" || first == b"[") {
            kept += size;
            if kept > MEMORY_LIMIT {
                return Err(broken(format!("{place} has too many documents")));
            }
            let mut bytes = first;
            entry.read_to_end(&mut bytes).with_context(what)?;
            files.insert(name, bytes);
            continue;
        }
        let Some(blob) = blob(&name, size) else {
            continue;
        };
        let (answer, answered) = tokio::sync::oneshot::channel();
        let question = Question {
            blob: blob.clone(),
            answer,
        };
        questions.blocking_send(question).context("ask the nodes")?;
        let lacks = answered.blocking_recv().context("ask the nodes")?;
        let takers = senders.iter().zip(lacks).filter(|(_, lacks)| *lacks);
        let mut takers: Vec<_> = takers.map(|(sender, _)| sender).collect();
        let mut send = |piece: Piece| {
            takers.retain(|taker| taker.blocking_send(piece.clone()).is_ok());
            !takers.is_empty()
        };
        let mut wanted = send(Piece::Begin(blob));
        let mut rest = std::io::Cursor::new(first).chain(&mut entry);
        while wanted {
            let mut piece = Vec::with_capacity(PIECE as usize);
            let part = rest.by_ref().take(PIECE);
            if { part }.read_to_end(&mut piece).with_context(what)? == 0 {
                break;
            }
            wanted = send(Piece::Data(Bytes::from(piece)));
        }
    }
    let place = place.to_owned();
    Ok(Memory { files, place })
}

fn name(path: &Path) -> Result<String> {
    clean(path).ok_or_else(|| broken(format!("an entry is named '{}'", path.display())))
}

/// The blob of an entry, if it is one.
fn blob(name: &str, size: u64) -> Option<Blob> {
    let digest = name.strip_prefix("blobs/")?.replacen('/', ":", 1);
    let size = i64::try_from(size).ok()?;
    is_digest(&digest).then_some(Blob {
        media_type: String::new(),
        digest,
        size,
    })
}
