//! The Kubernetes container runtime interface (CRI) of a node: the interface that the kubelet uses.
//!
//! Requests are built from these messages alone, and never from the text of a CRI configuration, in
//! which an unknown key could get lost without notice.

mod list;
mod pods;

use std::collections::BTreeMap;

use prost::{Enumeration, Message};
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::pods::PodConfig;
use super::{Node, Runtime, grpc::Connection};
use kubenest_base::Result;

/// CRI v1 client of a node's runtime.
#[derive(Debug, Clone)]
pub struct Cri {
    daemon: Connection,
}

/// The name and version of the runtime that answers on the socket.
#[derive(Clone, PartialEq, Message)]
pub struct Version {
    /// As `containerd`.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// Version of the running daemon.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
    /// As `v1`.
    #[prost(string, tag = "4")]
    pub runtime_api_version: String,
}

/// The conditions of the runtime and, on request, its own details.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
    /// Free-form details (JSON texts), only with `verbose`.
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
}

/// One condition, as `RuntimeReady` or `NetworkReady`.
#[derive(Clone, PartialEq, Message)]
pub struct Condition {
    /// Its name.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Whether it holds.
    #[prost(bool, tag = "2")]
    pub holds: bool,
    /// The reason in one word, if the condition does not hold.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// The reason in a sentence, if the condition does not hold.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// An image in the runtime's store.
#[derive(Clone, PartialEq, Message)]
#[non_exhaustive]
pub struct Image {
    /// Digest of its configuration, `sha256:…`.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Names with a tag.
    #[prost(string, repeated, tag = "2")]
    pub tags: Vec<String>,
    /// Names with a digest.
    #[prost(string, repeated, tag = "3")]
    pub digests: Vec<String>,
    /// Size in bytes.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// Whether the kubelet's image garbage collection leaves the image alone.
    #[prost(bool, tag = "8")]
    pub pinned: bool,
}

/// What creates the cgroups of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum CgroupDriver {
    /// systemd, through its slices.
    Systemd = 0,
    /// The runtime, in the cgroup file system.
    Cgroupfs = 1,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct VersionRequest {
    #[prost(string, tag = "1")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageFsInfoResponse {
    #[prost(message, repeated, tag = "1")]
    image_filesystems: Vec<FilesystemUsage>,
}

#[derive(Clone, PartialEq, Message)]
struct FilesystemUsage {
    #[prost(message, optional, tag = "2")]
    id: Option<FilesystemIdentifier>,
}

#[derive(Clone, PartialEq, Message)]
struct FilesystemIdentifier {
    #[prost(string, tag = "1")]
    mountpoint: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListImagesResponse {
    #[prost(message, repeated, tag = "1")]
    images: Vec<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct RemoveImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeConfigResponse {
    #[prost(message, optional, tag = "1")]
    linux: Option<LinuxRuntimeConfiguration>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxRuntimeConfiguration {
    #[prost(enumeration = "CgroupDriver", tag = "1")]
    cgroup_driver: i32,
}

/// Every method fails when the daemon does not answer or its CRI plugin did not load.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl Cri {
    /// Opens a connection to a node's runtime. The runtime need not answer yet, unlike with
    /// [`Node::cri`].
    ///
    /// # Errors
    /// Its socket is missing, or nothing listens there.
    pub async fn open(node: &Node) -> Result<Self> {
        let runtime = node.runtime();
        let stream = node.dial(runtime.socket()).await?;
        Self::over(runtime, node.name(), stream).await
    }

    /// Connects over a stream that ends at the runtime's socket; `node` is its name in messages.
    pub(super) async fn over<S>(runtime: Runtime, node: &str, stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let daemon = Connection::over(runtime.name(), node, stream).await?;
        Ok(Self { daemon })
    }

    /// Name and version of the running runtime.
    pub async fn version(&self) -> Result<Version> {
        let request = VersionRequest {
            version: "v1".to_owned(),
        };
        self.daemon
            .call("/runtime.v1.RuntimeService/Version", request)
            .await
    }

    /// The conditions of the runtime; `verbose` adds the runtime's own details.
    pub async fn status(&self, verbose: bool) -> Result<Status> {
        self.daemon
            .call(
                "/runtime.v1.RuntimeService/Status",
                StatusRequest { verbose },
            )
            .await
    }

    /// The runtime's cgroup driver; `None` before containerd 2.0, which cannot say.
    pub async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>> {
        let answer: Option<RuntimeConfigResponse> = self
            .daemon
            .try_call("/runtime.v1.RuntimeService/RuntimeConfig", Empty {})
            .await?;
        Ok(answer
            .and_then(|answer| answer.linux)
            .map(|linux| linux.cgroup_driver()))
    }

    /// Folders in the node that hold images, one for each snapshotter, the default one first.
    pub async fn image_folders(&self) -> Result<Vec<String>> {
        let answer: ImageFsInfoResponse = self
            .daemon
            .call("/runtime.v1.ImageService/ImageFsInfo", Empty {})
            .await?;
        let ids = answer
            .image_filesystems
            .into_iter()
            .filter_map(|usage| usage.id);
        Ok(ids.map(|id| id.mountpoint).collect())
    }

    /// Every image in the store.
    pub async fn images(&self) -> Result<Vec<Image>> {
        let answer: ListImagesResponse = self
            .daemon
            .call("/runtime.v1.ImageService/ListImages", Empty {})
            .await?;
        Ok(answer.images)
    }

    /// The image with this name or id; `None` when the store has none.
    pub async fn image(&self, name: &str) -> Result<Option<Image>> {
        let image = Some(ImageSpec {
            image: name.to_owned(),
        });
        let request = ImageStatusRequest { image };
        let answer: ImageStatusResponse = self
            .daemon
            .call("/runtime.v1.ImageService/ImageStatus", request)
            .await?;
        Ok(answer.image)
    }

    /// Removes the image with this name or id, together with all its names. An image that does not
    /// exist is no error.
    pub async fn remove_image(&self, name: &str) -> Result<()> {
        let image = Some(ImageSpec {
            image: name.to_owned(),
        });
        let request = RemoveImageRequest { image };
        let _: Empty = self
            .daemon
            .call("/runtime.v1.ImageService/RemoveImage", request)
            .await?;
        Ok(())
    }
}

impl Status {
    /// The runtime's conditions.
    pub fn conditions(&self) -> &[Condition] {
        self.status
            .as_ref()
            .map_or(&[], |status| &status.conditions)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::node::recorded::shown;

    #[test]
    fn the_runtime_says_what_it_is() {
        assert_snapshot!(shown::<VersionRequest, Version>("RuntimeService.Version"));
        assert_snapshot!(shown::<StatusRequest, Status>("RuntimeService.Status"));
        assert_snapshot!(shown::<Empty, RuntimeConfigResponse>(
            "RuntimeService.RuntimeConfig"
        ));
    }

    #[test]
    fn images_are_listed_found_and_removed() {
        assert_snapshot!(shown::<Empty, ImageFsInfoResponse>(
            "ImageService.ImageFsInfo"
        ));
        assert_snapshot!(shown::<Empty, ListImagesResponse>(
            "ImageService.ListImages"
        ));
        assert_snapshot!(shown::<ImageStatusRequest, ImageStatusResponse>(
            "ImageService.ImageStatus"
        ));
        assert_snapshot!(shown::<RemoveImageRequest, Empty>(
            "ImageService.RemoveImage"
        ));
    }

    /// The bytes a containerd sends, written by hand from the public field numbers.
    #[test]
    fn answers_decode_from_the_wire() {
        let image = Image::decode(
            [
                &b"\x0a\x03abc"[..],
                b"\x12\x03a:1",
                b"\x20\x07",
                b"\x40\x01",
            ]
            .concat()
            .as_slice(),
        )
        .expect("must decode");
        assert_eq!(
            (image.id.as_str(), image.size, image.pinned),
            ("abc", 7, true)
        );
        assert_eq!(image.tags, ["a:1"]);

        let status = Status::decode(&b"\x0a\x0a\x0a\x08\x0a\x04Ready\x10\x01"[..]);
        assert!(status.is_err(), "a wrong length must not pass");
        let status =
            Status::decode(&b"\x0a\x0b\x0a\x09\x0a\x05Ready\x10\x01"[..]).expect("must decode");
        assert_eq!(status.conditions()[0].kind, "Ready");
        assert!(status.conditions()[0].holds);

        let config = RuntimeConfigResponse::decode(&b"\x0a\x02\x08\x01"[..]).expect("must decode");
        let driver = config.linux.expect("must be there").cgroup_driver();
        assert_eq!(driver, CgroupDriver::Cgroupfs);
    }
}
