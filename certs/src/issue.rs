//! New keys and certificates: ECDSA P-256, which every API server and every rustls speak.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls_pki_types::CertificateDer;

use crate::settings::Settings;
use crate::x509::Validity;

/// A certificate and its key, both PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// A CA that signs serving certificates and no other CA.
pub(crate) fn new_ca(now: Timestamp, settings: &Settings) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::default();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    // A name of its own, because verifiers look CAs up by name: none ever takes one CA of a rotation
    // for the other.
    let id: String =
        params.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = name(&format!("Lameduck webhook CA {now:.0} {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(
        &mut params,
        Validity {
            not_before: add(now, -settings.clock_skew),
            not_after: add(now, settings.ca_life),
        },
    );
    let cert = params.self_signed(&key)?;
    Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
}

/// A serving certificate for the settings' names, signed by `ca`; it never outlives the CA.
pub(crate) fn new_leaf(
    now: Timestamp,
    ca: &CertificateDer<'static>,
    ca_validity: Validity,
    ca_key: &str,
    settings: &Settings,
) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new(settings.server_names.clone())?;
    params.distinguished_name = name("Lameduck webhook");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(
        &mut params,
        Validity {
            not_before: add(now, -settings.clock_skew),
            not_after: add(now, settings.leaf_life).min(ca_validity.not_after),
        },
    );
    let issuer = Issuer::from_ca_cert_der(ca, KeyPair::from_pem(ca_key)?)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = params.signed_by(&key, &issuer)?;
    Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    // rcgen's time type, without a second time library: seconds from the epoch.
    let time = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or(0);
        date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = time(validity.not_before);
    params.not_after = time(validity.not_after);
}

fn add(time: Timestamp, span: jiff::SignedDuration) -> Timestamp {
    time.saturating_add(span).unwrap_or(Timestamp::MAX)
}
