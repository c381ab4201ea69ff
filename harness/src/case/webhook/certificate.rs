//! The certificate of a server of webhooks.

use std::time::Duration;

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use kubenest_base::{Context, Result};
use kubenest_node::node::Node;

/// How long its making may take.
const MAKE: Duration = Duration::from_secs(60);
/// Makes a key and a certificate for 127.0.0.1 that has signed itself. Both are printed, and stay
/// nowhere.
const OPENSSL: [&str; 15] = [
    "openssl",
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-keyout",
    "-",
    "-days",
    "2",
    "-subj=/CN=kubenest",
    "-addext",
    "subjectAltName=IP:127.0.0.1",
];

/// A certificate that is its own authority, and its key.
pub(super) struct Certificate {
    /// The certificate as PEM.
    pub(super) pem: String,
    pub(super) der: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Makes one in a node, because it has to be valid by the clock of the API server.
    pub(super) async fn make(node: &Node) -> Result<Self> {
        let printed = node.within(MAKE).exec_ok(&OPENSSL).await?;
        let what = || "make a certificate for webhooks".to_owned();
        let key = PrivateKeyDer::from_pem_slice(&printed.stdout).with_context(what)?;
        let der = CertificateDer::from_pem_slice(&printed.stdout).with_context(what)?;
        let text = printed.text();
        // The key comes first.
        let begin = text.find("-----BEGIN CERTIFICATE-----").unwrap_or_default();
        let pem = text[begin..].to_owned();
        Ok(Self { pem, der, key })
    }
}
