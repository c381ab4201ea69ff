//! An X.509 SVID: the certificate that names a workload by a URI.

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// What the Workload API gave a workload, and its certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    /// The one URI in the certificate, `spiffe://<trust domain>/<path>`.
    pub id: String,
    /// The certificate's serial number.
    pub serial: Vec<u8>,
}

/// The answer of the Workload API, as SPIRE's client prints it; its key is not read.
#[derive(Deserialize)]
struct Answer {
    svids: Vec<Issued>,
}

#[derive(Deserialize)]
struct Issued {
    /// DER of the certificate and of those between it and a root, in base64.
    x509_svid: String,
    /// DER of the roots of the trust domain, in base64.
    bundle: String,
}

impl Svid {
    /// Reads an answer that has one SVID, and verifies its certificate by the roots in the answer.
    ///
    /// # Errors
    /// It has none or several, or the certificate is not what it should be.
    pub fn read(answer: &[u8]) -> Result<Self> {
        let answer: Answer = serde_json::from_slice(answer).context("the Workload API's answer")?;
        let [issued] = &answer.svids[..] else {
            anyhow::bail!("{} SVIDs where one is expected", answer.svids.len());
        };
        let chain = certificates(&BASE64_STANDARD.decode(&issued.x509_svid)?)?;
        let roots = certificates(&BASE64_STANDARD.decode(&issued.bundle)?)?;
        let (first, between) = chain.split_first().context("no certificate")?;
        let certificate = EndEntityCert::try_from(first).context("read the certificate")?;
        let anchors = roots.iter().map(anchor_from_trusted_cert);
        let anchors: Vec<_> = anchors
            .collect::<Result<_, _>>()
            .context("read the roots")?;
        certificate
            .verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &anchors,
                between,
                UnixTime::now(),
                KeyUsage::client_auth(),
                None,
                None,
            )
            .context("verify the certificate by the trust domain's roots")?;
        let uris: Vec<_> = certificate.valid_uri_names().collect();
        let [id] = uris[..] else {
            anyhow::bail!("the certificate names {uris:?} where one URI is expected");
        };
        Ok(Self {
            id: id.to_owned(),
            serial: certificate.serial().to_vec(),
        })
    }

    /// The trust domain that the certificate's URI names.
    pub fn trust_domain(&self) -> Option<&str> {
        self.id.strip_prefix("spiffe://")?.split('/').next()
    }
}

/// Splits certificates in DER that follow one another.
fn certificates(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let length = element_length(der).context("no DER")?;
        let (one, rest) = der
            .split_at_checked(length)
            .context("DER that ends early")?;
        found.push(CertificateDer::from(one.to_vec()));
        der = rest;
    }
    Ok(found)
}

/// The length of the sequence in DER that begins here, with its head.
fn element_length(der: &[u8]) -> Option<usize> {
    let (&tag, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    if tag != 0x30 {
        return None;
    }
    if short < 0x80 {
        return Some(2 + usize::from(short));
    }
    // The low bits say how many bytes the length has.
    let bytes = rest
        .get(..usize::from(short & 0x7f))
        .filter(|bytes| bytes.len() <= 3)?;
    let length = bytes
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    Some(2 + bytes.len() + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_split_where_each_ends() {
        let long = [&[0x30, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        let both = [&long[..], &[0x30, 0x01, 0x05]].concat();
        let found = certificates(&both).unwrap();
        let lengths: Vec<_> = found.iter().map(|one| one.as_ref().len()).collect();
        assert_eq!(lengths, [260, 3]);
        for broken in [
            &both[..261],
            &[0x31, 0x01, 0x05],
            &[0x30],
            &[0x30, 0x84, 1, 1, 1, 1],
        ] {
            assert!(certificates(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn an_answer_without_an_svid_is_none() {
        let error = Svid::read(br#"{"svids": []}"#).unwrap_err();
        assert_eq!(error.to_string(), "0 SVIDs where one is expected");
    }

    #[test]
    fn the_trust_domain_is_the_uris_host() {
        let of = |id: &str| Svid {
            id: id.to_owned(),
            serial: vec![],
        };
        let svid = of("spiffe://example.org/workload");
        assert_eq!(svid.trust_domain(), Some("example.org"));
        assert_eq!(of("https://example.org/workload").trust_domain(), None);
    }
}
