//! What the Secrets and the webhook configuration say, as data for the plan.
//!
//! Nothing here fails: content that cannot be read is a fact too, with its reason.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{KeyPair, PublicKeyData};
use rustls::CertificateError;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::Settings;
use crate::x509::{Anchor, Validity, verify};

/// Data of a Secret.
pub(crate) type Data = BTreeMap<String, ByteString>;

/// Keys of `lameduck-webhook-tls`; the names are those of the type `kubernetes.io/tls`.
pub(crate) const TLS_CERT: &str = "tls.crt";
pub(crate) const TLS_KEY: &str = "tls.key";
pub(crate) const TLS_CA: &str = "ca.crt";

/// Keys of `lameduck-ca`: the CA that signs, the one that will, and those that did.
pub(crate) const CURRENT_CERT: &str = "current.crt";
pub(crate) const CURRENT_KEY: &str = "current.key";
pub(crate) const NEXT_CERT: &str = "next.crt";
pub(crate) const NEXT_KEY: &str = "next.key";
/// When every `caBundle` was first seen with the next CA in it (RFC 3339).
pub(crate) const NEXT_PUBLISHED_AT: &str = "next-published-at";
/// Certificates only, concatenated.
pub(crate) const PREVIOUS_CERTS: &str = "previous.crt";
/// When the last certificate of a previous CA was replaced (RFC 3339).
pub(crate) const PREVIOUS_SINCE: &str = "previous-since";

/// A place where something should be.
#[derive(Debug)]
pub(crate) enum Slot<T> {
    Missing,
    /// There is something, and why it is of no use.
    Broken(String),
    Present(T),
}

impl<T> Slot<T> {
    pub(crate) fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Missing | Self::Broken(_) => None,
        }
    }
}

/// A CA as it stands in the Secret. Its certificate can be of use without its key.
pub(crate) struct Ca {
    pub(crate) anchor: Anchor,
    /// The key as PEM, or why there is none that fits.
    pub(crate) key: Result<String, String>,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of logs and of failing tests.
        f.debug_struct("Ca").field("validity", &self.anchor.validity).finish_non_exhaustive()
    }
}

/// The serving certificate.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) validity: Validity,
    /// The CA that issued it, if it is one of those in the Secret or in a `caBundle`.
    pub(crate) issuer: Option<Anchor>,
    /// A wanted name that it is not valid for.
    pub(crate) missing_name: Option<String>,
}

/// Everything that the plan needs to know.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) current: Slot<Ca>,
    pub(crate) next: Slot<Ca>,
    pub(crate) next_published_at: Option<Timestamp>,
    pub(crate) previous: Vec<Anchor>,
    pub(crate) previous_since: Option<Timestamp>,
    pub(crate) leaf: Slot<Leaf>,
    /// The `caBundle` of every hook; `None` while there is no configuration.
    pub(crate) bundles: Option<Vec<Vec<Anchor>>>,
}

impl Facts {
    /// Reads the data of both Secrets (`None`: no such Secret) and the `caBundle`s (`None`: no such
    /// configuration).
    pub(crate) fn read(
        ca: Option<&Data>,
        tls: Option<&Data>,
        bundles: Option<Vec<Vec<u8>>>,
        settings: &Settings,
    ) -> Self {
        let empty = Data::new();
        let ca = ca.unwrap_or(&empty);
        let time = |key: &str| {
            std::str::from_utf8(part(ca, key)).ok().and_then(|text| text.trim().parse().ok())
        };
        let current = read_ca(part(ca, CURRENT_CERT), part(ca, CURRENT_KEY));
        let next = read_ca(part(ca, NEXT_CERT), part(ca, NEXT_KEY));
        let previous = Anchor::read_all(part(ca, PREVIOUS_CERTS));
        let bundles: Option<Vec<Vec<Anchor>>> =
            bundles.map(|bundles| bundles.iter().map(|bundle| Anchor::read_all(bundle)).collect());
        let issuers: Vec<&Anchor> = [&current, &next]
            .into_iter()
            .filter_map(|slot| slot.present().map(|ca| &ca.anchor))
            .chain(&previous)
            .chain(bundles.iter().flatten().flatten())
            .collect();
        let leaf = read_leaf(tls.unwrap_or(&empty), &issuers, settings);
        Self {
            current,
            next,
            next_published_at: time(NEXT_PUBLISHED_AT),
            previous,
            previous_since: time(PREVIOUS_SINCE),
            leaf,
            bundles,
        }
    }
}

fn part<'a>(data: &'a Data, key: &str) -> &'a [u8] {
    data.get(key).map_or(&[], |value| &value.0)
}

fn read_ca(cert: &[u8], key: &[u8]) -> Slot<Ca> {
    if cert.is_empty() && key.is_empty() {
        return Slot::Missing;
    }
    let anchor = match CertificateDer::from_pem_slice(cert) {
        Ok(der) => Anchor::read(der),
        Err(error) => Err(error.to_string()),
    };
    match anchor {
        Ok(anchor) => {
            let key = read_ca_key(&anchor, key);
            Slot::Present(Ca { anchor, key })
        }
        Err(error) => Slot::Broken(format!("its certificate cannot be read: {error}")),
    }
}

fn read_ca_key(anchor: &Anchor, pem: &[u8]) -> Result<String, String> {
    let pem = std::str::from_utf8(pem).map_err(|_| "its key is no text".to_owned())?;
    let pair =
        KeyPair::from_pem(pem).map_err(|error| format!("its key cannot be read: {error}"))?;
    if pair.subject_public_key_info() == anchor.public_key()? {
        Ok(pem.to_owned())
    } else {
        Err("its key belongs to another certificate".to_owned())
    }
}

fn read_leaf(tls: &Data, issuers: &[&Anchor], settings: &Settings) -> Slot<Leaf> {
    let (cert, key) = (part(tls, TLS_CERT), part(tls, TLS_KEY));
    if cert.is_empty() && key.is_empty() {
        return Slot::Missing;
    }
    match try_read_leaf(cert, key, issuers, settings) {
        Ok(leaf) => Slot::Present(leaf),
        Err(why) => Slot::Broken(why),
    }
}

fn try_read_leaf(
    cert: &[u8],
    key: &[u8],
    issuers: &[&Anchor],
    settings: &Settings,
) -> Result<Leaf, String> {
    let chain = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{TLS_CERT} cannot be read: {error}"))?;
    let der = chain.first().ok_or_else(|| format!("{TLS_CERT} has no certificate"))?;
    let validity =
        Validity::of(der).map_err(|error| format!("{TLS_CERT} cannot be read: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("{TLS_KEY} cannot be read: {error}"))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| format!("{TLS_KEY} cannot be used: {error}"))?;
    rustls::sign::CertifiedKey::new(chain.clone(), key)
        .keys_match()
        .map_err(|error| format!("{TLS_KEY} does not belong to {TLS_CERT}: {error}"))?;

    // Asked for the certificate's own first moment: who issued it does not change when it ends.
    let at = validity.not_before;
    let issued_by = |anchor: &Anchor, name: &str| verify(&chain, &[&anchor.der], name, at);
    let first_name = settings.server_names.first().map_or("", String::as_str);
    let issuer = issuers.iter().find(|anchor| {
        matches!(
            issued_by(anchor, first_name),
            Ok(())
                | Err(Some(
                    CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. }
                ))
        )
    });
    let missing_name = issuer.and_then(|anchor| {
        settings.server_names.iter().find(|name| issued_by(anchor, name).is_err()).cloned()
    });
    Ok(Leaf { validity, issuer: issuer.map(|anchor| (*anchor).clone()), missing_name })
}
