//! gRPC to a program in a node, over a byte stream: calls with a bound, and their errors.

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

#[cfg(test)]
pub(super) use super::recorded::codec;
use kubenest_base::{
    Context, Error, Result,
    wait::{self, Deadline, Probe},
};

/// A connection to a program that is running in a node.
///
/// All calls share one stream. A restarted program needs a new connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    program: &'static str,
    node: String,
    channel: Channel,
}

impl Connection {
    /// Speaks over a stream that ends at the program's socket; both names are for messages.
    pub(super) async fn over<S>(program: &'static str, node: &str, stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut stream = Some(TokioIo::new(stream));
        let once = tower::service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotConnected,
                    "the stream into the node has ended",
                )
            });
            async move { stream }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(wait::scaled(Duration::from_secs(5)))
            .connect_with_connector(once)
            .await
            .with_context(|| format!("connect to {program} in node '{node}'"))?;
        Ok(Self {
            program,
            node: node.to_owned(),
            channel,
        })
    }

    /// A client for calls that this has no method for.
    pub(super) fn client(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone())
    }

    /// One unary call.
    pub(super) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + Clone + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.try_call(path, request).await?.ok_or_else(|| {
            Error::setup(format!(
                "{} in node '{}' does not implement {path}",
                self.program, self.node
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
        let started = format!("{} to have started", self.program);
        let answer = wait::until(&started, STARTING, async || {
            match self.ask(path, Request::new(request.clone()), SHORT).await {
                Err(status) if starting(&status) => Probe::Pending(words(&status)),
                answer => Probe::Ready(answer),
            }
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
    pub(super) async fn ask<Q, A>(
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
            let mut grpc = self.client();
            grpc.ready().await.map_err(unreachable)?;
            let codec = codec::<Q, A>(path);
            let path = PathAndQuery::from_static(path);
            Ok(grpc.unary(request, path, codec).await?.into_inner())
        };
        in_time(deadline, answer).await
    }

    /// The error of a refused call, with the cure where its words have a known one.
    pub(super) fn failed(&self, path: &str, status: &Status) -> Error {
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
pub(super) fn codec<Q, A>(_path: &'static str) -> tonic_prost::ProstCodec<Q, A> {
    tonic_prost::ProstCodec::default()
}

/// How long a call may take that moves no data.
pub(super) const SHORT: Duration = Duration::from_secs(10);

/// How long a daemon that answers may take to start its CRI service: longer than one call, so
/// that a call that hangs is told as that.
const STARTING: Duration = Duration::from_secs(15);

/// Whether the daemon refused a call only because its CRI service has not started yet.
fn starting(status: &Status) -> bool {
    status.message().contains("server is not initialized yet")
}

/// The daemon's answer, or that there was none.
pub(super) fn in_time<T>(
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

pub(super) fn unreachable(cause: tonic::transport::Error) -> Status {
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
    use super::*;

    #[test]
    fn the_daemons_own_words_are_kept() {
        let status = Status::internal("no such snapshotter");
        insta::assert_snapshot!(words(&status), @"Internal: no such snapshotter");
    }
}
