//! The server of webhooks: HTTP over TLS, over connections that wait in a node.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming as Body, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{
    ResourceExt,
    api::DynamicObject,
    core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use tokio::task::JoinSet;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring},
};

use super::{
    Events,
    certificate::Certificate,
    configuration::{PROBE, probe_number},
    lock, panic_error,
};
use kubenest_base::{Context, Result};
use kubenest_evidence as evidence;
use kubenest_node::node::{Incoming, Node, NodeListener};

/// A listener in a node, with a certificate.
pub(super) struct Server {
    listener: NodeListener,
    acceptor: TlsAcceptor,
}

/// What answers requests.
struct Reviewer<H> {
    handler: H,
    events: Arc<Mutex<Events>>,
}

impl Server {
    /// Listens in a node. It works in the current runtime.
    pub(super) async fn open(node: &Node, certificate: &Certificate) -> Result<Self> {
        let what = "prepare TLS for webhooks";
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context(what)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der.clone()], certificate.key.clone_key())
            .context(what)?;
        Ok(Self {
            listener: node.listen().await?,
            acceptor: Arc::new(config).into(),
        })
    }

    /// The port on the node's 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Serves all connections until this is dropped, or the node no longer listens.
    pub(super) async fn serve<F>(
        mut self,
        handler: impl Fn(AdmissionRequest<DynamicObject>) -> F + Send + Sync + 'static,
        events: Arc<Mutex<Events>>,
    ) where
        F: Future<Output = AdmissionResponse> + Send + 'static,
    {
        let reviewer = Arc::new(Reviewer { handler, events });
        // Its connections end with it.
        let mut connections = JoinSet::new();
        while let Some(connection) = self.listener.accept().await {
            while connections.try_join_next().is_some() {}
            let (acceptor, reviewer) = (self.acceptor.clone(), reviewer.clone());
            connections.spawn(async move {
                if let Err(error) = serve_connection(connection, acceptor, reviewer).await {
                    tracing::debug!("{}", error.report());
                }
            });
        }
        tracing::warn!("a node listens for webhooks no longer");
        while connections.join_next().await.is_some() {}
    }
}

async fn serve_connection<H, F>(
    connection: Incoming,
    acceptor: TlsAcceptor,
    reviewer: Arc<Reviewer<H>>,
) -> Result<()>
where
    H: Fn(AdmissionRequest<DynamicObject>) -> F + Send + Sync + 'static,
    F: Future<Output = AdmissionResponse> + Send + 'static,
{
    let stream = connection.fetch().await?;
    let stream = acceptor.accept(stream).await;
    let stream = TokioIo::new(stream.context("begin TLS with the API server")?);
    let service = service_fn(move |request| {
        let reviewer = reviewer.clone();
        async move { Ok::<_, Infallible>(reviewer.answer(request).await) }
    });
    let served = http1::Builder::new().serve_connection(stream, service);
    served.await.context("serve the API server's requests")
}

impl<H, F> Reviewer<H>
where
    H: Fn(AdmissionRequest<DynamicObject>) -> F + Send + Sync + 'static,
    F: Future<Output = AdmissionResponse> + Send + 'static,
{
    async fn answer(&self, request: Request<Body>) -> Response<Full<Bytes>> {
        let probed = probe_number(request.uri().path());
        let body = request.into_body().collect().await;
        let review = body
            .context("read a review")
            .and_then(|body| read_review(&body.to_bytes()));
        let (status, text) = match review {
            Ok(request) => {
                lock(&self.events).called.extend(probed);
                let review = self.review(request).await.into_review();
                (
                    StatusCode::OK,
                    serde_json::to_vec(&review).unwrap_or_default(),
                )
            }
            Err(error) => (StatusCode::BAD_REQUEST, error.report().into_bytes()),
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let json = http::HeaderValue::from_static("application/json");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, json);
        response
    }

    async fn review(&self, request: AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let response = AdmissionResponse::from(&request);
        let object = request.object.as_ref();
        if object.is_some_and(|object| object.labels().contains_key(PROBE)) {
            return response;
        }
        // A handler may panic before it returns its future.
        let handled = async { (self.handler)(request).await };
        match AssertUnwindSafe(handled).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => {
                let message = evidence::panic_message(panic.as_ref());
                let refused = response.deny(panic_error(&message));
                lock(&self.events).panicked.get_or_insert(message);
                refused
            }
        }
    }
}

fn read_review(body: &[u8]) -> Result<AdmissionRequest<DynamicObject>> {
    let what = "read a review";
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body).context(what)?;
    review.try_into().context(what)
}
