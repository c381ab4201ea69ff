//! Certificates that have signed themselves, for servers that a test or a fixture starts.

use std::time::Duration;

use super::Node;
use kubenest_base::{Error, Result};

/// How long its making may take.
const MAKE: Duration = Duration::from_secs(60);
/// The key is printed first, then the certificate. Neither stays anywhere.
const OPENSSL: [&str; 14] = [
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
];

/// A certificate that is its own authority, and its key, as PEM. It is valid for two days.
#[derive(Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Node {
    /// Makes a certificate for these names, such as `IP:127.0.0.1` or `DNS:server.namespace.svc`. It is
    /// made in the node, because it has to be valid by the clock there.
    ///
    /// # Errors
    /// The node has no openssl, or does not run.
    pub async fn self_signed(&self, names: &[String]) -> Result<SelfSigned> {
        let names = format!("subjectAltName={}", names.join(","));
        let argv = [OPENSSL.as_slice(), &[names.as_str()]].concat();
        let printed = self.within(MAKE).exec_ok(&argv).await?.text();
        split(&printed)
            .ok_or_else(|| Error::setup(format!("openssl in '{self}' has printed no key")))
    }
}

fn split(printed: &str) -> Option<SelfSigned> {
    let (key, certificate) = printed.split_at(printed.find("-----BEGIN CERTIFICATE-----")?);
    let line = |text: &str| text.trim().to_owned() + "\n";
    (!key.trim().is_empty()).then(|| SelfSigned {
        certificate: line(certificate),
        key: line(key),
    })
}

/// Without the key.
impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openssl_prints_is_a_key_and_then_a_certificate() {
        let printed = "-----BEGIN PRIVATE KEY-----\nk\n-----END PRIVATE KEY-----\n\
                       -----BEGIN CERTIFICATE-----\nc\n-----END CERTIFICATE-----\n";
        let made = split(printed).unwrap();
        assert!(made.key.starts_with("-----BEGIN PRIVATE KEY-----\nk\n"));
        assert!(
            made.certificate
                .ends_with("\nc\n-----END CERTIFICATE-----\n")
        );
        assert_eq!(format!("{made:?}"), "SelfSigned { .. }");
        for nothing in ["", "-----BEGIN CERTIFICATE-----\nc\n"] {
            assert_eq!(split(nothing), None);
        }
    }
}
