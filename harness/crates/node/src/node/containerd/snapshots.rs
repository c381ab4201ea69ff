//! containerd's snapshots: unpacked layers, each on top of its parent, named by their chain ids.

use std::{collections::BTreeMap, time::Duration};

use prost::Message;
use tonic::Code;

use super::{Blob, Empty, ImageStore};
use kubenest_base::{Error, Result};

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(string, tag = "1")]
    snapshotter: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(string, tag = "3")]
    parent: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatResponse {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
}

/// The kind of a snapshot that others can have as their parent.
const COMMITTED: i32 = 3;

#[derive(Clone, PartialEq, Message)]
struct Mounts {
    #[prost(message, repeated, tag = "1")]
    mounts: Vec<Mount>,
}

/// A mount, which is handed unchanged from one service to the other.
#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(string, tag = "3")]
    target: String,
    #[prost(string, repeated, tag = "4")]
    options: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Commit {
    #[prost(string, tag = "1")]
    snapshotter: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    key: String,
    #[prost(btree_map = "string, string", tag = "4")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Apply {
    #[prost(message, optional, tag = "1")]
    diff: Option<Blob>,
    #[prost(message, repeated, tag = "2")]
    mounts: Vec<Mount>,
}

#[derive(Clone, PartialEq, Message)]
struct Applied {
    #[prost(message, optional, tag = "1")]
    applied: Option<Blob>,
}

/// How long each step of unpacking a layer may take.
const UNPACK: Duration = Duration::from_secs(30 * 60);

/// Every method fails when the daemon does not answer or refuses.
impl ImageStore {
    /// Whether the chain is unpacked; if so, the store's lease keeps it.
    pub async fn has_snapshot(&self, snapshotter: &str, chain: &str) -> Result<bool> {
        if !self.is_committed(snapshotter, chain).await? {
            return Ok(false);
        }
        self.keep(&format!("snapshots/{snapshotter}"), chain)
            .await?;
        // The snapshot may have been removed before the lease held it, so look again.
        self.is_committed(snapshotter, chain).await
    }

    async fn is_committed(&self, snapshotter: &str, chain: &str) -> Result<bool> {
        let request = Snapshot {
            snapshotter: snapshotter.to_owned(),
            key: chain.to_owned(),
            ..Snapshot::default()
        };
        let path = "/containerd.services.snapshots.v1.Snapshots/Stat";
        let answer: Option<StatResponse> = self.find(path, request).await?;
        let info = answer.and_then(|answer| answer.info);
        Ok(info.is_some_and(|info| info.kind == COMMITTED))
    }

    /// Unpacks a layer, whose blob must exist, on top of the chain `parent` (empty for the lowest
    /// layer), and names the result by the new chain. `diff_id` is the digest that the unpacked tar
    /// must have.
    pub async fn unpack(
        &self,
        snapshotter: &str,
        layer: &Blob,
        diff_id: &str,
        (parent, chain): (&str, &str),
    ) -> Result<()> {
        let key = format!("{} {chain}", self.lease().unwrap_or("kubenest"));
        let prepare = Snapshot {
            snapshotter: snapshotter.to_owned(),
            key: key.clone(),
            parent: parent.to_owned(),
        };
        let path = "/containerd.services.snapshots.v1.Snapshots/Prepare";
        // The snapshotter `native` copies the parent here, which takes long.
        let prepared = self.ask::<_, Mounts>(path, prepare, UNPACK).await;
        let prepared = prepared.map_err(|status| self.daemon.call_error(path, &status));
        let Mounts { mounts } = prepared?;
        let unpacked = self.apply(layer, mounts, diff_id).await;
        let done = match unpacked {
            Ok(()) => self.commit(snapshotter, &key, chain).await,
            Err(error) => Err(error),
        };
        if !matches!(done, Ok(true)) {
            self.remove(snapshotter, key).await;
        }
        done.map(drop)
    }

    async fn apply(&self, layer: &Blob, mounts: Vec<Mount>, diff_id: &str) -> Result<()> {
        let request = Apply {
            diff: Some(layer.clone()),
            mounts,
        };
        let path = "/containerd.services.diff.v1.Diff/Apply";
        let answer: Result<Applied, _> = self.ask(path, request, UNPACK).await;
        let answer = answer.map_err(|status| self.daemon.call_error(path, &status))?;
        let found = answer.applied.unwrap_or_default().digest;
        if found == diff_id {
            return Ok(());
        }
        Err(Error::setup(format!(
            "layer {} unpacks to {found}, while the image's configuration says {diff_id}",
            layer.digest
        ))
        .cure("build or save the image again"))
    }

    /// Returns `false` if another load has committed the same chain in the meantime.
    async fn commit(&self, snapshotter: &str, key: &str, chain: &str) -> Result<bool> {
        let request = Commit {
            snapshotter: snapshotter.to_owned(),
            name: chain.to_owned(),
            key: key.to_owned(),
            labels: BTreeMap::new(),
        };
        let path = "/containerd.services.snapshots.v1.Snapshots/Commit";
        let deadline = Duration::from_secs(60);
        match self.ask::<_, Empty>(path, request, deadline).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::AlreadyExists => {
                self.has_snapshot(snapshotter, chain).await?;
                Ok(false)
            }
            Err(status) => Err(self.daemon.call_error(path, &status)),
        }
    }

    /// Removes a snapshot that was not committed. The end of the lease would remove it too, but
    /// only later.
    async fn remove(&self, snapshotter: &str, key: String) {
        let request = Snapshot {
            snapshotter: snapshotter.to_owned(),
            key,
            ..Snapshot::default()
        };
        let path = "/containerd.services.snapshots.v1.Snapshots/Remove";
        if let Err(error) = self.call::<_, Empty>(path, request).await {
            tracing::debug!("{}", error.report());
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::node::recorded::shown;

    #[test]
    fn layers_are_unpacked_and_named_by_their_chain() {
        assert_snapshot!(shown::<Snapshot, Mounts>("Snapshots.Prepare"));
        assert_snapshot!(shown::<Apply, Applied>("Diff.Apply"));
        assert_snapshot!(shown::<Commit, Empty>("Snapshots.Commit"));
        assert_snapshot!(shown::<Snapshot, StatResponse>("Snapshots.Stat"));
        assert_snapshot!(shown::<Snapshot, Empty>("Snapshots.Remove"));
    }
}
