//! containerd's own gRPC services, over a byte stream into the node.

mod content;
mod image_store;
mod snapshots;

use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::{
    content::Blob,
    image_store::{ImageStore, Record},
};
use super::{Runtime, grpc::Connection};
use kubenest_base::Result;

/// A connection to the containerd daemon that is running in a node.
///
/// All calls share one stream. A restarted daemon needs a new connection.
#[derive(Debug, Clone)]
pub struct Containerd {
    connection: Connection,
}

/// One row of containerd's plugin table.
#[derive(Clone, PartialEq, Message)]
pub struct Plugin {
    /// Plugin type, as `io.containerd.snapshotter.v1`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Name within the type, as `overlayfs`.
    #[prost(string, tag = "2")]
    pub id: String,
    /// The platforms that the plugin is for, the daemon's own first.
    #[prost(message, repeated, tag = "4")]
    pub platforms: Vec<Platform>,
    /// Why the plugin did not load; absent when it did.
    #[prost(message, optional, tag = "7")]
    pub init_error: Option<InitError>,
}

/// The operating system and the processor that programs are built for.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Platform {
    /// As `linux`.
    #[prost(string, tag = "1")]
    pub os: String,
    /// As `amd64`.
    #[prost(string, tag = "2")]
    pub architecture: String,
    /// As `v7`; often empty.
    #[prost(string, tag = "3")]
    pub variant: String,
}

/// Why a plugin did not load (a `google.rpc.Status`).
#[derive(Clone, PartialEq, Message)]
pub struct InitError {
    /// gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The message of the plugin.
    #[prost(string, tag = "2")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct PluginsResponse {
    #[prost(message, repeated, tag = "1")]
    plugins: Vec<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
struct VersionResponse {
    #[prost(string, tag = "1")]
    version: String,
}

impl Containerd {
    /// Connects over a stream that ends at the daemon's socket; `node` is its name in messages.
    ///
    /// # Errors
    /// No HTTP/2 server answers within ten seconds.
    pub async fn over<S>(node: &str, stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let daemon = Self {
            connection: Connection::over(Runtime::Containerd.name(), node, stream).await?,
        };
        // A stream through a remote engine opens even if nobody listens at its other end, so ask
        // once.
        daemon.version().await?;
        Ok(daemon)
    }

    /// The images, their content and their snapshots, in the namespace that CRI uses.
    pub fn image_store(&self) -> ImageStore {
        ImageStore::new(self.connection.clone())
    }

    /// Version of the running daemon; upgrading the binary on disk does not change it.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn version(&self) -> Result<String> {
        let answer: VersionResponse = self
            .connection
            .call("/containerd.services.version.v1.Version/Version", Empty {})
            .await?;
        Ok(answer.version)
    }

    /// Every plugin the daemon knows, loaded or not.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn plugins(&self) -> Result<Vec<Plugin>> {
        let path = "/containerd.services.introspection.v1.Introspection/Plugins";
        let answer: PluginsResponse = self.connection.call(path, Empty {}).await?;
        Ok(answer.plugins)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::node::recorded::shown;

    #[test]
    fn the_daemon_says_its_version_and_its_plugins() {
        assert_snapshot!(shown::<Empty, VersionResponse>("Version.Version"));
        assert_snapshot!(shown::<Empty, PluginsResponse>("Introspection.Plugins"));
    }

    #[tokio::test]
    async fn a_stream_that_ends_is_an_error_with_its_cause() {
        let (near, far) = tokio::io::duplex(64);
        drop(far);
        let open = kubenest_base::wait::with_factor(1.0, Containerd::over("cp-1", near));
        let error = open.await.expect_err("must fail");
        insta::assert_snapshot!(
            error.report(),
            @"connect to containerd in node 'cp-1': transport error: connection error: broken pipe"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_says_nothing_is_an_error_within_its_bound() {
        let (near, _far) = tokio::io::duplex(64);
        let open = kubenest_base::wait::with_factor(1.0, Containerd::over("cp-1", near));
        let error = open.await.expect_err("must fail");
        insta::assert_snapshot!(
            error.report(),
            @"call /containerd.services.version.v1.Version/Version in node 'cp-1': DeadlineExceeded: no answer within 10 s"
        );
    }
}
