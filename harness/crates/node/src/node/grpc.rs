//! gRPC to a program in a node, over a byte stream: calls with a deadline, and their errors.

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
    /// Connects over a stream that ends at the program's socket; both names are for messages.
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

    /// A client for kinds of calls that this type has no method for.
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

    /// One unary call; `None` when the daemon is too old to know the method.
    ///
    /// containerd answers on its socket before its CRI service has started, and refuses calls to
    /// that service until then. Such a call is repeated, as long as the service may take to start.
    pub(super) async fn try_call<Q, A>(&self, path: &'static str, request: Q) -> Result<Option<A>>
    where
        Q: Message + Clone + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let started = format!("{} to have started", self.program);
        let answer = wait::until(&started, STARTING, async || {
            match self.ask(path, Request::new(request.clone()), SHORT).await {
                Err(status) if is_starting(&status) => Probe::Pending(message_of(&status)),
                answer => Probe::Ready(answer),
            }
        });
        let answer = answer
            .await
            .with_context(|| format!("call {path} in node '{}'", self.node))?;
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(self.call_error(path, &status)),
        }
    }

    /// One unary call with a deadline, whose refusal by the daemon is returned as it is.
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
        // The daemon gives up too, a second after this side, because this side's error is clearer.
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

    /// The error for a refused call, with a cure if the daemon's message has a known one.
    pub(super) fn call_error(&self, path: &str, status: &Status) -> Error {
        let error = Error::setup(format!("call {path} in node '{}'", self.node));
        let words = message_of(status);
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

/// The codec of a method; in tests it is one that can record the messages.
#[cfg(not(test))]
pub(super) fn codec<Q, A>(_path: &'static str) -> tonic_prost::ProstCodec<Q, A> {
    tonic_prost::ProstCodec::default()
}

/// How long a call that moves no data may take.
pub(super) const SHORT: Duration = Duration::from_secs(10);

/// How long a daemon that answers may take to start its CRI service. It is longer than one call may
/// take, so that a hanging call is reported as such.
const STARTING: Duration = Duration::from_secs(15);

/// Whether the daemon refused a call only because its CRI service has not started yet.
fn is_starting(status: &Status) -> bool {
    status.message().contains("server is not initialized yet")
}

/// The daemon's answer, or an error when the deadline has passed.
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

/// The daemon's message, or the innermost cause when the daemon could not be reached.
fn message_of(status: &Status) -> String {
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
        insta::assert_snapshot!(message_of(&status), @"Internal: no such snapshotter");
    }
}
