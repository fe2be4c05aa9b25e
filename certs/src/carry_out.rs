//! A step of the plan as new content: of the CA's Secret, of the serving Secret, or of the
//! `caBundle`s. Makes keys and takes milliseconds of CPU; does no IO.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use pem::{EncodeConfig, LineEnding, Pem};

use crate::facts::{
    CURRENT_CERT, CURRENT_KEY, Ca, Data, Facts, NEXT_CERT, NEXT_KEY, NEXT_PUBLISHED_AT,
    PREVIOUS_CERTS, PREVIOUS_SINCE, TLS_CA, TLS_CERT, TLS_KEY,
};
use crate::issue::{Pair, new_ca, new_leaf};
use crate::plan::{Signer, Step};
use crate::settings::Settings;
use crate::x509::Anchor;

/// What has to be written. Each variant is one request to the API server.
pub(crate) enum Write {
    /// All data of the Secret `lameduck-ca`.
    Ca(Data),
    /// All data of the Secret `lameduck-webhook-tls`.
    Tls(Data),
    /// The `caBundle` of every hook, as PEM.
    Bundles(Vec<u8>),
}

/// Why a step could not be turned into content.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The crypto library refused.
    #[error("cannot make a key or sign a certificate")]
    Crypto(#[from] rcgen::Error),
    /// The plan asked for a signature of a CA that cannot sign: a defect of Lameduck.
    #[error("the CA that should sign has no usable key")]
    NoSigner,
}

/// Carries `step` out on `ca`, the present data of the CA's Secret, from which `facts` were read.
pub(crate) fn carry_out(
    now: Timestamp,
    step: &Step,
    ca: &Data,
    facts: &Facts,
    settings: &Settings,
) -> Result<Write, IssueError> {
    let mut ca = ca.clone();
    match step {
        Step::IssueCa { role, previous } => {
            let pair = new_ca(now, settings)?;
            let (cert, key) = match role {
                Signer::Current => (CURRENT_CERT, CURRENT_KEY),
                Signer::Next => (NEXT_CERT, NEXT_KEY),
            };
            put(&mut ca, cert, pair.cert);
            put(&mut ca, key, pair.key);
            ca.remove(NEXT_PUBLISHED_AT);
            if *previous != facts.previous {
                put_previous(&mut ca, previous, now);
            }
        }
        Step::Promote { previous } => {
            for (from, to) in [(NEXT_CERT, CURRENT_CERT), (NEXT_KEY, CURRENT_KEY)] {
                if let Some(value) = ca.remove(from) {
                    ca.insert(to.to_owned(), value);
                }
            }
            ca.remove(NEXT_PUBLISHED_AT);
            put_previous(&mut ca, previous, now);
        }
        Step::DropNext { previous } => {
            for key in [NEXT_CERT, NEXT_KEY, NEXT_PUBLISHED_AT] {
                ca.remove(key);
            }
            put_previous(&mut ca, previous, now);
        }
        Step::SetPublished(Some(at)) => put(&mut ca, NEXT_PUBLISHED_AT, at.to_string()),
        Step::SetPublished(None) => {
            ca.remove(NEXT_PUBLISHED_AT);
        }
        Step::SetPrevious { previous, since } => put_previous(&mut ca, previous, *since),
        Step::IssueLeaf(signer) => {
            let signer = match signer {
                Signer::Current => &facts.current,
                Signer::Next => &facts.next,
            };
            let signer = signer.present().ok_or(IssueError::NoSigner)?;
            return Ok(Write::Tls(issue_leaf(now, signer, settings)?));
        }
        Step::Publish(anchors) => return Ok(Write::Bundles(pem(anchors))),
    }
    Ok(Write::Ca(ca))
}

fn issue_leaf(now: Timestamp, signer: &Ca, settings: &Settings) -> Result<Data, IssueError> {
    let key = signer.key.as_ref().map_err(|_| IssueError::NoSigner)?;
    let anchor = &signer.anchor;
    let Pair { cert, key } = new_leaf(now, &anchor.der, anchor.validity, key, settings)?;
    let mut data = Data::new();
    put(&mut data, TLS_CERT, cert);
    put(&mut data, TLS_KEY, key);
    data.insert(TLS_CA.to_owned(), ByteString(pem(std::slice::from_ref(anchor))));
    Ok(data)
}

fn put(data: &mut Data, key: &str, value: String) {
    data.insert(key.to_owned(), ByteString(value.into_bytes()));
}

fn put_previous(data: &mut Data, previous: &[Anchor], since: Timestamp) {
    if previous.is_empty() {
        data.remove(PREVIOUS_CERTS);
        data.remove(PREVIOUS_SINCE);
    } else {
        data.insert(PREVIOUS_CERTS.to_owned(), ByteString(pem(previous)));
        put(data, PREVIOUS_SINCE, since.to_string());
    }
}

fn pem(anchors: &[Anchor]) -> Vec<u8> {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let blocks: Vec<Pem> =
        anchors.iter().map(|anchor| Pem::new("CERTIFICATE", anchor.der.as_ref())).collect();
    pem::encode_many_config(&blocks, config).into_bytes()
}
