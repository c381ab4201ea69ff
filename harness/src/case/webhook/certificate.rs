//! The certificate of a server of webhooks.

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use kubenest_base::{Context, Result};
use kubenest_node::node::Node;

/// A certificate that is its own authority, and its key.
pub(super) struct Certificate {
    /// The certificate as PEM.
    pub(super) pem: String,
    pub(super) der: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Makes one for 127.0.0.1 in a node.
    pub(super) async fn make(node: &Node) -> Result<Self> {
        let made = node.self_signed(&["IP:127.0.0.1".to_owned()]).await?;
        let what = || "make a certificate for webhooks".to_owned();
        Ok(Self {
            key: PrivateKeyDer::from_pem_slice(made.key.as_bytes()).with_context(what)?,
            der: CertificateDer::from_pem_slice(made.certificate.as_bytes()).with_context(what)?,
            pem: made.certificate,
        })
    }
}
