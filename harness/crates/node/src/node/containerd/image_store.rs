//! The images of containerd's namespace `k8s.io`, and leases that keep unfinished images.

use std::{collections::BTreeMap, time::Duration};

use prost::Message;
use tonic::{Code, Request, Status, metadata::AsciiMetadataValue};

use super::{Blob, Empty};
use crate::node::grpc::{Connection, SHORT};
use kubenest_base::{Error, Result};
use kubenest_docker::labels::unix_now;

/// The namespace that CRI uses, and so the kubelet.
const NAMESPACE: &str = "k8s.io";

/// The label with the time at which a lease expires (RFC 3339).
const EXPIRE: &str = "containerd.io/gc.expire";

/// The images, content and snapshots of the kubelet's namespace, `k8s.io`.
///
/// containerd's garbage collection leaves alone whatever is made through a store with a lease,
/// until that lease ends.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(super) daemon: Connection,
    lease: Option<String>,
}

/// An image name with the manifest that it stands for.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// The reference by which the runtime knows the image.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Labels, by name.
    #[prost(btree_map = "string, string", tag = "2")]
    pub labels: BTreeMap<String, String>,
    /// The descriptor of the manifest or the index.
    #[prost(message, optional, tag = "3")]
    pub target: Option<Blob>,
}

/// Keeps content until somebody ends the lease or it expires.
#[derive(Clone, PartialEq, Message)]
pub struct Lease {
    /// Its id, chosen by containerd or by us.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Labels, by name.
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseResponse {
    #[prost(message, optional, tag = "1")]
    lease: Option<Lease>,
}

#[derive(Clone, PartialEq, Message)]
struct DeleteLease {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    sync: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Filters {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Leases {
    #[prost(message, repeated, tag = "1")]
    leases: Vec<Lease>,
}

#[derive(Clone, PartialEq, Message)]
struct AddResource {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    resource: Option<Resource>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// A message with one record: for getting, creating and returning it.
#[derive(Clone, PartialEq, Message)]
struct OneRecord {
    #[prost(message, optional, tag = "1")]
    image: Option<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct UpdateRecord {
    #[prost(message, optional, tag = "1")]
    image: Option<Record>,
    #[prost(message, optional, tag = "2")]
    mask: Option<FieldMask>,
}

/// Which fields an update changes (a `google.protobuf.FieldMask`).
#[derive(Clone, PartialEq, Message)]
pub(super) struct FieldMask {
    #[prost(string, repeated, tag = "1")]
    pub(super) paths: Vec<String>,
}

/// Every method fails when the daemon does not answer or refuses.
impl ImageStore {
    pub(super) fn new(daemon: Connection) -> Self {
        Self {
            daemon,
            lease: None,
        }
    }

    /// The same store with a new lease of this name, which expires after `lifetime`.
    pub async fn leased(
        &self,
        id: String,
        mut labels: BTreeMap<String, String>,
        lifetime: Duration,
    ) -> Result<Self> {
        let end = unix_now() + lifetime.as_secs();
        let end = jiff::Timestamp::from_second(end.try_into().unwrap_or(i64::MAX));
        labels.insert(EXPIRE.to_owned(), end.unwrap_or_default().to_string());
        let id = Lease { id, labels };
        let path = "/containerd.services.leases.v1.Leases/Create";
        let answer: LeaseResponse = self.call(path, id).await?;
        Ok(Self {
            daemon: self.daemon.clone(),
            lease: Some(answer.lease.unwrap_or_default().id),
        })
    }

    /// The id of the store's lease.
    pub(super) fn lease(&self) -> Option<&str> {
        self.lease.as_deref()
    }

    /// The leases with this label.
    pub async fn leases(&self, label: &str) -> Result<Vec<Lease>> {
        let filters = vec![format!("labels.\"{label}\"")];
        let path = "/containerd.services.leases.v1.Leases/List";
        let answer: Leases = self.call(path, Filters { filters }).await?;
        Ok(answer.leases)
    }

    /// Ends a lease. With `sync`, content that only this lease kept is gone when the call returns.
    pub async fn end_lease(&self, id: &str, sync: bool) -> Result<()> {
        let id = id.to_owned();
        let path = "/containerd.services.leases.v1.Leases/Delete";
        let deadline = Duration::from_secs(120);
        let request = self.request(DeleteLease { id, sync });
        match self.daemon.ask::<_, Empty>(path, request, deadline).await {
            Err(status) if status.code() != Code::NotFound => {
                Err(self.daemon.call_error(path, &status))
            }
            _ => Ok(()),
        }
    }

    /// Ends this store's own lease.
    pub async fn end(&self, sync: bool) -> Result<()> {
        match &self.lease {
            Some(id) => self.end_lease(id, sync).await,
            None => Ok(()),
        }
    }

    /// Makes the lease keep a resource, which need not exist. `kind` is such as `content` or
    /// `snapshots/overlayfs`.
    pub(super) async fn keep(&self, kind: &str, id: &str) -> Result<()> {
        let Some(lease) = self.lease.clone() else {
            return Ok(());
        };
        let resource = Some(Resource {
            id: id.to_owned(),
            kind: kind.to_owned(),
        });
        let request = AddResource {
            id: lease,
            resource,
        };
        let path = "/containerd.services.leases.v1.Leases/AddResource";
        let _: Empty = self.call(path, request).await?;
        Ok(())
    }

    /// The record with exactly this name.
    pub async fn record(&self, name: &str) -> Result<Option<Record>> {
        let name = name.to_owned();
        let path = "/containerd.services.images.v1.Images/Get";
        let answer: Option<OneRecord> = self.find(path, Named { name }).await?;
        Ok(answer.and_then(|answer| answer.image))
    }

    /// Creates the record, or replaces the one of the same name. The old labels are removed on
    /// purpose: CRI treats a record as new only without its own label, and only then keeps the
    /// image by its id too.
    pub async fn put_record(&self, record: Record) -> Result<()> {
        let path = "/containerd.services.images.v1.Images/Create";
        let image = Some(record.clone());
        let request = self.request(OneRecord { image });
        match self.daemon.ask::<_, OneRecord>(path, request, SHORT).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => self.update_record(record).await,
            Err(status) => Err(self.daemon.call_error(path, &status)),
        }
    }

    async fn update_record(&self, record: Record) -> Result<()> {
        let paths = ["target", "labels"].map(str::to_owned).to_vec();
        self.update(record, paths).await
    }

    async fn update(&self, record: Record, paths: Vec<String>) -> Result<()> {
        let request = UpdateRecord {
            image: Some(record),
            mask: Some(FieldMask { paths }),
        };
        let path = "/containerd.services.images.v1.Images/Update";
        let _: OneRecord = self.call(path, request).await?;
        Ok(())
    }

    /// Sets one label of a record; an empty value removes it.
    pub async fn label_record(&self, name: &str, label: &str, value: &str) -> Result<()> {
        let record = self.record(name).await?;
        // The daemon crashes on a record without a manifest, so the whole record is sent.
        let mut record = record.ok_or_else(|| Error::not_found(format!("no image '{name}'")))?;
        record.labels.insert(label.to_owned(), value.to_owned());
        self.update(record, vec![format!("labels.{label}")]).await
    }

    /// A request with the store's namespace and lease.
    pub(super) fn request<Q>(&self, body: Q) -> Request<Q> {
        let mut request = Request::new(body);
        let headers = request.metadata_mut();
        headers.insert(
            "containerd-namespace",
            AsciiMetadataValue::from_static(NAMESPACE),
        );
        let lease = self.lease.as_deref().map(AsciiMetadataValue::try_from);
        if let Some(Ok(lease)) = lease {
            headers.insert("containerd-lease", lease);
        }
        request
    }

    /// A call that takes a short time.
    pub(super) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.ask(path, request, SHORT)
            .await
            .map_err(|status| self.daemon.call_error(path, &status))
    }

    /// A short call about something that may not exist; `None` if it does not.
    pub(super) async fn find<Q, A>(&self, path: &'static str, request: Q) -> Result<Option<A>>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        match self.ask(path, request, SHORT).await {
            Ok(answer) => Ok(Some(answer)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.daemon.call_error(path, &status)),
        }
    }

    /// A call whose refusal by the daemon is returned as it is.
    pub(super) async fn ask<Q, A>(
        &self,
        path: &'static str,
        request: Q,
        deadline: Duration,
    ) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.daemon.ask(path, self.request(request), deadline).await
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::node::recorded::shown;

    #[test]
    fn images_are_named_and_labelled() {
        assert_snapshot!(shown::<Named, OneRecord>("Images.Get"));
        assert_snapshot!(shown::<OneRecord, OneRecord>("Images.Create"));
        assert_snapshot!(shown::<UpdateRecord, OneRecord>("Images.Update"));
    }

    #[test]
    fn leases_are_made_found_and_ended() {
        assert_snapshot!(shown::<Lease, LeaseResponse>("Leases.Create"));
        assert_snapshot!(shown::<Filters, Leases>("Leases.List"));
        assert_snapshot!(shown::<AddResource, Empty>("Leases.AddResource"));
        assert_snapshot!(shown::<DeleteLease, Empty>("Leases.Delete"));
    }
}
