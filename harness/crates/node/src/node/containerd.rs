//! containerd's own gRPC services, over a byte stream into the node.

mod content;
mod image_store;
mod snapshots;

use std::{error::Error as _, io, time::Duration};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};

pub use self::{
    content::Blob,
    image_store::{ImageStore, Record},
};
#[cfg(test)]
use super::recorded::codec;
use super::{Node, cri::Cri};
use kubenest_base::{Context, Error, Result, wait, wait::Deadline, wait::Probe};

/// containerd's socket in every node.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// A connection to the containerd daemon that is running in a node.
///
/// All calls share one stream. A restarted daemon needs a new connection.
#[derive(Debug, Clone)]
pub struct Containerd {
    node: String,
    channel: Channel,
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
    /// The platforms it is for, the daemon's own first.
    #[prost(message, repeated, tag = "4")]
    pub platforms: Vec<Platform>,
    /// Why the plugin did not load; absent when it did.
    #[prost(message, optional, tag = "7")]
    pub init_error: Option<InitError>,
}

/// What programs run on.
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
    /// containerd's words.
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
    /// Connects to the daemon of a node, which has then answered once.
    ///
    /// # Errors
    /// The socket is missing, or nothing answers on it within ten seconds.
    pub async fn connect(node: &Node) -> Result<Self> {
        Self::over(node.name(), node.dial(SOCKET).await?).await
    }

    /// Speaks over a stream that ends at the daemon's socket; `node` is for messages.
    ///
    /// # Errors
    /// Nothing that speaks HTTP/2 answers within ten seconds.
    pub async fn over<S>(node: &str, stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut stream = Some(TokioIo::new(stream));
        let once = tower::service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotConnected,
                    "the containerd stream has ended",
                )
            });
            async move { stream }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(wait::scaled(Duration::from_secs(5)))
            .connect_with_connector(once)
            .await
            .with_context(|| format!("connect to containerd in node '{node}'"))?;
        let daemon = Self {
            node: node.to_owned(),
            channel,
        };
        // A stream through a remote engine opens before anybody is at its other end.
        daemon.version().await?;
        Ok(daemon)
    }

    /// The CRI services of the same daemon.
    pub fn cri(&self) -> Cri {
        Cri::new(self.clone())
    }

    /// The images, their content and their snapshots, in the namespace that CRI uses.
    pub fn image_store(&self) -> ImageStore {
        ImageStore::new(self.clone())
    }

    /// Version of the running daemon, which an upgraded binary on disk does not change.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn version(&self) -> Result<String> {
        let answer: VersionResponse = self
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
        let answer: PluginsResponse = self.call(path, Empty {}).await?;
        Ok(answer.plugins)
    }

    /// One unary call.
    pub(super) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + Clone + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.try_call(path, request).await?.ok_or_else(|| {
            Error::setup(format!(
                "containerd in node '{}' does not implement {path}",
                self.node
            ))
        })
    }

    /// One unary call; `None` when the daemon is too old to know it.
    ///
    /// containerd answers on its socket before its CRI service has started, and refuses until
    /// then what it is asked: such a call is made again, for as long as one may take.
    pub(super) async fn try_call<Q, A>(&self, path: &'static str, request: Q) -> Result<Option<A>>
    where
        Q: Message + Clone + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let answer = wait::until("containerd to have started", STARTING, async || match self
            .ask(path, Request::new(request.clone()), SHORT)
            .await
        {
            Err(status) if starting(&status) => Probe::Pending(words(&status)),
            answer => Probe::Ready(answer),
        });
        let answer = answer
            .await
            .with_context(|| format!("call {path} in node '{}'", self.node))?;
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(self.failed(path, &status)),
        }
    }

    /// One unary call with its deadline; the daemon's refusal as it is.
    async fn ask<Q, A>(
        &self,
        path: &'static str,
        mut request: Request<Q>,
        deadline: Duration,
    ) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        // For the daemon to give up, too: a moment after this side has, which tells it better.
        request.set_timeout(wait::scaled(deadline) + Duration::from_secs(1));
        let answer = async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready().await.map_err(unreachable)?;
            let codec = codec::<Q, A>(path);
            let path = PathAndQuery::from_static(path);
            Ok(grpc.unary(request, path, codec).await?.into_inner())
        };
        in_time(deadline, answer).await
    }

    /// The error of a refused call, with the cure where its words have a known one.
    fn failed(&self, path: &str, status: &Status) -> Error {
        let error = Error::setup(format!("call {path} in node '{}'", self.node));
        let words = words(status);
        let error = if words.contains("no space left on device") {
            error.cure(
                "free disk space where the engine keeps its volumes: `kubenest clean`, \
                 `docker system prune --volumes`",
            )
        } else {
            error
        };
        error.because(words)
    }
}

/// The codec of a method; tests can record what passes through theirs.
#[cfg(not(test))]
fn codec<Q, A>(_path: &'static str) -> tonic_prost::ProstCodec<Q, A> {
    tonic_prost::ProstCodec::default()
}

/// How long a call may take that moves no data.
const SHORT: Duration = Duration::from_secs(10);

/// How long a daemon that answers may take to start its CRI service: longer than one call, so
/// that a call that hangs is told as that.
const STARTING: Duration = Duration::from_secs(15);

/// Whether the daemon refused a call only because its CRI service has not started yet.
fn starting(status: &Status) -> bool {
    status.message().contains("server is not initialized yet")
}

/// The daemon's answer, or that there was none.
fn in_time<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> impl Future<Output = Result<T, Status>> {
    let answer = Box::pin(answer);
    async move {
        let deadline = Deadline::begin(deadline);
        let answered = deadline.give(answer).await;
        answered.unwrap_or_else(|| Err(Status::deadline_exceeded(deadline.silence())))
    }
}

fn unreachable(cause: tonic::transport::Error) -> Status {
    Status::from_error(Box::new(cause))
}

/// The daemon's words, or the cause at the end of the chain when it could not be asked.
fn words(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    match cause {
        Some(cause) => cause.to_string(),
        None => format!("{:?}: {}", status.code(), status.message()),
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

    #[test]
    fn the_daemons_own_words_are_kept() {
        let status = Status::internal("no such snapshotter");
        insta::assert_snapshot!(words(&status), @"Internal: no such snapshotter");
    }
}
