//! What certificates say about themselves, and whether one was issued by another.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Validity {
    /// Reads it from DER; the error is a message about the certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        Self::read(&parsed)
    }

    fn read(parsed: &X509Certificate<'_>) -> Result<Self, String> {
        let read = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
        };
        let validity = parsed.validity();
        Ok(Self { not_before: read(validity.not_before)?, not_after: read(validity.not_after)? })
    }

    /// The moment at which two thirds of the life are over.
    pub(crate) fn renew_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        // Cannot overflow: the result lies between two timestamps.
        self.not_before.saturating_add(life / 3 * 2).unwrap_or(self.not_after)
    }
}

/// A CA certificate, without its key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) validity: Validity,
}

impl std::fmt::Debug for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Anchor").field(&self.validity).finish()
    }
}

impl Anchor {
    /// Reads a CA certificate from DER; the error is a message about it.
    pub(crate) fn read(der: CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        if !parsed.is_ca() {
            return Err("it is not the certificate of a CA".to_owned());
        }
        let validity = Validity::read(&parsed)?;
        Ok(Self { der, validity })
    }

    /// Reads every readable CA certificate of a PEM text, and passes over the rest.
    pub(crate) fn read_all(pem: &[u8]) -> Vec<Self> {
        CertificateDer::pem_slice_iter(pem)
            .filter_map(Result::ok)
            .filter_map(|der| Self::read(der).ok())
            .collect()
    }

    /// The public key, as DER of its SubjectPublicKeyInfo.
    pub(crate) fn public_key(&self) -> Result<Vec<u8>, String> {
        let (_, parsed) =
            X509Certificate::from_der(&self.der).map_err(|error| error.to_string())?;
        Ok(parsed.public_key().raw.to_vec())
    }

    pub(crate) fn has_ended(&self, now: Timestamp) -> bool {
        self.validity.not_after <= now
    }
}

/// Verifies `chain` as the API server does: up to one of `anchors`, for `name`, at `at`.
///
/// # Errors
/// The certificate error, or `None` where the input is no certificate or no name at all.
pub(crate) fn verify(
    chain: &[CertificateDer<'static>],
    anchors: &[&CertificateDer<'static>],
    name: &str,
    at: Timestamp,
) -> Result<(), Option<CertificateError>> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add((*anchor).clone()).map_err(|_| None)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|_| None)?;
    let (leaf, intermediates) = chain.split_first().ok_or(None)?;
    let name = ServerName::try_from(name).map_err(|_| None)?;
    let seconds = u64::try_from(at.as_second()).map_err(|_| None)?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    match verifier.verify_server_cert(leaf, intermediates, &name, &[], at) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(Some(error)),
        Err(_) => Err(None),
    }
}
