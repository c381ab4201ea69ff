//! containerd's content store: finds and writes blobs by their digests.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::{ImageStore, image_store::FieldMask};
use crate::node::grpc::{codec, in_time, unreachable};
use kubenest_base::{Error, Result};

/// The digest, type and size of a blob (an OCI descriptor).
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Blob {
    /// Media type, as OCI and Docker define it.
    #[prost(string, tag = "1")]
    pub media_type: String,
    /// `sha256:…`.
    #[prost(string, tag = "2")]
    pub digest: String,
    /// In bytes.
    #[prost(int64, tag = "3")]
    pub size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Digest {
    #[prost(string, tag = "1")]
    digest: String,
}

#[derive(Clone, PartialEq, Message)]
struct OneInfo {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

#[derive(Clone, PartialEq, Message)]
struct UpdateInfo {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
    #[prost(message, optional, tag = "2")]
    mask: Option<FieldMask>,
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(btree_map = "string, string", tag = "5")]
    labels: BTreeMap<String, String>,
}

/// One message of a write: a piece of data with its offset, or the commit at the end.
#[derive(Clone, PartialEq, Message)]
struct Write {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(string, tag = "2")]
    reference: String,
    #[prost(int64, tag = "3")]
    total: i64,
    #[prost(string, tag = "4")]
    expected: String,
    #[prost(int64, tag = "5")]
    offset: i64,
    #[prost(bytes = "bytes", tag = "6")]
    data: Bytes,
    #[prost(btree_map = "string, string", tag = "7")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Written {
    #[prost(int64, tag = "4")]
    offset: i64,
}

/// Actions of a [`Write`].
const STAT: i32 = 0;
const WRITE: i32 = 1;
const COMMIT: i32 = 2;

/// How many messages of one write may be without an answer.
const UNDER_WAY: usize = 4;

/// How long the daemon may take for one piece; for the last piece this includes checking the digest
/// of the whole blob. The time that the source of the pieces takes is not counted.
const SILENCE: Duration = Duration::from_secs(10 * 60);

const WRITE_PATH: &str = "/containerd.services.content.v1.Content/Write";

/// Every method fails when the daemon does not answer or refuses.
impl ImageStore {
    /// Whether the blob exists; if so, the store's lease keeps it.
    pub async fn has_blob(&self, digest: &str) -> Result<bool> {
        if !self.blob_exists(digest).await? {
            return Ok(false);
        }
        self.keep("content", digest).await?;
        // The blob may have been removed before the lease held it, so look again.
        self.blob_exists(digest).await
    }

    async fn blob_exists(&self, digest: &str) -> Result<bool> {
        let path = "/containerd.services.content.v1.Content/Info";
        let digest = digest.to_owned();
        let answer: Option<OneInfo> = self.find(path, Digest { digest }).await?;
        Ok(answer.is_some())
    }

    /// Adds labels to a blob. A label that refers to another blob keeps that blob as long as this
    /// one.
    pub async fn label_blob(&self, digest: &str, labels: BTreeMap<String, String>) -> Result<()> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let digest = digest.to_owned();
        let request = UpdateInfo {
            info: Some(Info { digest, labels }),
            mask: Some(FieldMask { paths }),
        };
        let path = "/containerd.services.content.v1.Content/Update";
        let _: OneInfo = self.call(path, request).await?;
        Ok(())
    }

    /// Writes a blob while its pieces arrive; containerd checks the digest at the end. Returns
    /// `false` if the blob already existed; then some of the pieces may not have been taken.
    ///
    /// If the pieces end early, nothing of the blob stays.
    pub async fn write_blob(
        &self,
        blob: &Blob,
        mut pieces: impl Stream<Item = Bytes> + Unpin,
    ) -> Result<bool> {
        let (requests, taken) = mpsc::channel::<Write>(UNDER_WAY);
        let first = Write {
            action: STAT,
            reference: format!("{}-{}", self.lease().unwrap_or("kubenest"), blob.digest),
            total: blob.size,
            expected: blob.digest.clone(),
            ..Write::default()
        };
        let reference = first.reference.clone();
        let feed = async move {
            let mut offset = 0;
            if requests.send(first.clone()).await.is_err() {
                return offset;
            }
            while offset < blob.size
                && let Some(data) = pieces.next().await
            {
                let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
                let write = Write {
                    action: WRITE,
                    offset,
                    data,
                    ..Write::default()
                };
                offset = offset.saturating_add(length);
                if requests.send(write).await.is_err() {
                    return offset;
                }
            }
            if offset == blob.size {
                let end = Write {
                    action: COMMIT,
                    offset,
                    ..first
                };
                requests.send(end).await.ok();
            }
            offset
        };
        let (offset, answered) = tokio::join!(feed, self.written(taken));
        match answered {
            Ok(()) if offset == blob.size => Ok(true),
            Ok(()) => {
                self.abort_write(reference).await;
                let (digest, size) = (&blob.digest, blob.size);
                Err(Error::setup(format!(
                    "blob {digest} ends after {offset} of {size} bytes"
                )))
            }
            Err(status) if status.code() == Code::AlreadyExists => Ok(false),
            Err(status) => {
                self.abort_write(reference).await;
                Err(self.daemon.call_error(WRITE_PATH, &status))
            }
        }
    }

    /// Sends the messages of one write and waits for the answer to each.
    async fn written(&self, taken: mpsc::Receiver<Write>) -> Result<(), Status> {
        let messages = stream::unfold(taken, async |mut taken| {
            let message = taken.recv().await?;
            Some((message, taken))
        });
        let mut grpc = self.daemon.client();
        grpc.ready().await.map_err(unreachable)?;
        let path = PathAndQuery::from_static(WRITE_PATH);
        let codec = codec::<Write, Written>(WRITE_PATH);
        let request = self.request(messages);
        let answers = async { grpc.streaming(request, path, codec).await };
        let mut answers = in_time(SILENCE, answers).await?.into_inner();
        while in_time(SILENCE, answers.message()).await?.is_some() {}
        Ok(())
    }

    /// Removes what a broken write has left. The end of the lease would remove it too, but only
    /// later.
    async fn abort_write(&self, reference: String) {
        let path = "/containerd.services.content.v1.Content/Abort";
        let request = Digest { digest: reference };
        let deadline = Duration::from_secs(10);
        let aborted = self.ask::<_, super::Empty>(path, request, deadline).await;
        if let Err(status) = aborted {
            tracing::debug!("abort a write: {status}");
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::{super::Empty, *};
    use crate::node::recorded::shown;

    #[test]
    fn blobs_are_asked_for_written_and_labelled() {
        assert_snapshot!(shown::<Digest, OneInfo>("Content.Info"));
        assert_snapshot!(shown::<UpdateInfo, OneInfo>("Content.Update"));
        assert_snapshot!(shown::<Write, Written>("Content.Write"));
        assert_snapshot!(shown::<Digest, Empty>("Content.Abort"));
    }

    #[test]
    fn a_write_is_as_containerd_reads_it() {
        let write = Write {
            action: COMMIT,
            reference: "r".into(),
            total: 3,
            expected: "d".into(),
            offset: 3,
            data: Bytes::from_static(b"x"),
            labels: BTreeMap::from([("k".into(), "v".into())]),
        };
        assert_eq!(
            write.encode_to_vec(),
            b"\x08\x02\x12\x01r\x18\x03\x22\x01d\x28\x03\x32\x01x\x3a\x06\x0a\x01k\x12\x01v"
        );
    }
}
