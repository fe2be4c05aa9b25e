//! What a certificate says about itself.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
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

    pub(crate) fn read(parsed: &X509Certificate<'_>) -> Result<Self, String> {
        let read = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
        };
        let validity = parsed.validity();
        Ok(Self { not_before: read(validity.not_before)?, not_after: read(validity.not_after)? })
    }
}
