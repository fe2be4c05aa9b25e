//! The webhook's side: serve the newest good certificate, whatever happens to its Secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

use crate::facts::{TLS_CERT, TLS_KEY};
use crate::settings::WEBHOOK_TLS_SECRET;
use crate::x509::Validity;

/// Why the content of a Secret cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A key of the Secret's data is missing or empty.
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    /// The certificate chain is no PEM, or no certificate.
    #[error("tls.crt cannot be read: {0}")]
    Certificate(String),
    /// The key is no PEM, or of a kind that cannot sign.
    #[error("tls.key cannot be read: {0}")]
    Key(String),
    /// Both can be read, but they do not belong together.
    #[error("tls.key is not the key of the certificate in tls.crt: {0}")]
    Mismatch(String),
    /// The certificate had ended before it was loaded.
    #[error("the certificate in tls.crt ended at {0}")]
    Expired(Timestamp),
}

/// What is served now. A snapshot for health checks, metrics and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// End of the served certificate; `None` while there is none.
    pub not_after: Option<Timestamp>,
    /// Different certificates loaded since the start.
    pub loads: u64,
    /// Why the Secret's present content is not what is served; `None` where it is.
    pub problem: Option<String>,
}

/// The pair in use, and until when.
struct Loaded {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
}

/// Hands rustls the newest good certificate, lock-free. A broken or deleted Secret changes nothing
/// but [`Serving::problem`]: the last good pair stays.
#[derive(Default)]
pub struct ReloadingResolver {
    loaded: ArcSwapOption<Loaded>,
    problem: ArcSwapOption<String>,
    loads: AtomicU64,
}

impl std::fmt::Debug for ReloadingResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReloadingResolver").field(&self.serving()).finish()
    }
}

impl ReloadingResolver {
    /// A resolver without a certificate: handshakes fail until the first [`offer`](Self::offer).
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Takes a PEM chain and a PEM key into use. Returns whether they differ from what was served.
    ///
    /// # Errors
    /// Why the pair cannot be served; the last good one is kept.
    pub fn offer(&self, chain: &[u8], key: &[u8], now: Timestamp) -> Result<bool, PairError> {
        match read_pair(chain, key, now) {
            Ok(loaded) => {
                self.problem.store(None);
                let same =
                    self.loaded.load().as_ref().is_some_and(|old| old.key.cert == loaded.key.cert);
                if !same {
                    self.loaded.store(Some(Arc::new(loaded)));
                    self.loads.fetch_add(1, Ordering::Relaxed);
                }
                Ok(!same)
            }
            Err(error) => {
                self.problem.store(Some(Arc::new(error.to_string())));
                Err(error)
            }
        }
    }

    /// Notes that the Secret is gone. The last good pair is kept.
    pub fn gone(&self) {
        self.problem
            .store(Some(Arc::new(format!("the Secret {WEBHOOK_TLS_SECRET} does not exist"))));
    }

    /// What is served now.
    #[must_use]
    pub fn serving(&self) -> Serving {
        Serving {
            not_after: self.loaded.load().as_ref().map(|loaded| loaded.not_after),
            loads: self.loads.load(Ordering::Relaxed),
            problem: self.problem.load().as_ref().map(|problem| problem.as_ref().clone()),
        }
    }

    /// Whether a handshake can succeed at `now`: there is a certificate, and it has not ended.
    #[must_use]
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.loaded.load().as_ref().is_some_and(|loaded| now < loaded.not_after)
    }

    /// Keeps the resolver equal to the Secret `lameduck-webhook-tls` of `namespace`, by a watch
    /// through the API. Never returns by itself: errors are logged and retried with backoff.
    pub async fn follow(self: Arc<Self>, client: Client, namespace: String) {
        let secrets: Api<Secret> = Api::namespaced(client, &namespace);
        let mut versions =
            std::pin::pin!(watcher::watch_object(secrets, WEBHOOK_TLS_SECRET).default_backoff());
        while let Some(version) = versions.next().await {
            match version {
                Ok(Some(secret)) => self.load(&namespace, &secret),
                Ok(None) => {
                    self.gone();
                    warn!(
                        namespace,
                        secret = WEBHOOK_TLS_SECRET,
                        "the serving certificate's Secret does not exist; \
                         waiting for the controller to write it, the last good certificate stays"
                    );
                }
                Err(error) => warn!(
                    namespace,
                    secret = WEBHOOK_TLS_SECRET,
                    %error,
                    "cannot watch the serving certificate's Secret; retrying, the last good certificate stays"
                ),
            }
        }
    }

    fn load(&self, namespace: &str, secret: &Secret) {
        let part = |key: &str| {
            secret.data.as_ref().and_then(|data| data.get(key)).map_or(&[][..], |value| &value.0)
        };
        match self.offer(part(TLS_CERT), part(TLS_KEY), Timestamp::now()) {
            Ok(true) => info!(
                namespace,
                secret = WEBHOOK_TLS_SECRET,
                not_after = self.serving().not_after.map(tracing::field::display),
                "serving certificate loaded"
            ),
            Ok(false) => {}
            Err(error) => warn!(
                namespace,
                secret = WEBHOOK_TLS_SECRET,
                %error,
                "the serving certificate cannot be used; the last good one stays"
            ),
        }
    }
}

impl ResolvesServerCert for ReloadingResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.loaded.load().as_ref().map(|loaded| Arc::clone(&loaded.key))
    }
}

/// A server configuration over `resolver`: TLS 1.2 and 1.3, no client certificates, HTTP/1.1 (the
/// API server speaks nothing else to a Service), provider aws-lc-rs.
///
/// # Errors
/// Where the provider cannot do one of the two TLS versions.
pub fn server_config(resolver: Arc<ReloadingResolver>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read_pair(chain: &[u8], key: &[u8], now: Timestamp) -> Result<Loaded, PairError> {
    for (name, part) in [(TLS_CERT, chain), (TLS_KEY, key)] {
        if part.is_empty() {
            return Err(PairError::Missing(name));
        }
    }
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PairError::Certificate(error.to_string()))?;
    let leaf = chain.first().ok_or(PairError::Missing(TLS_CERT))?;
    let validity = Validity::of(leaf).map_err(PairError::Certificate)?;
    if validity.not_after <= now {
        return Err(PairError::Expired(validity.not_after));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| PairError::Key(error.to_string()))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| PairError::Key(error.to_string()))?;
    let key = CertifiedKey::new(chain, key);
    key.keys_match().map_err(|error| PairError::Mismatch(error.to_string()))?;
    Ok(Loaded { key: Arc::new(key), not_after: validity.not_after })
}
