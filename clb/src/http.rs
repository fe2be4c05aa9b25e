//! One HTTP request with bounds: a timeout for the whole of it, and a size for the answer.

use std::sync::Arc;
use std::time::Duration;
use std::{env, io};

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use crate::error::Failure;
use crate::text::chain;

/// A connection to a host in the same country takes well below a second.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Below what servers and NAT gateways keep idle connections for.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Six actions of one API, and polls of a few load balancers at once.
const IDLE_CONNECTIONS_MAX: usize = 8;

type Exchange = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct TlsError(String);

/// An answer, read to its end. Not printable: credentials come in answers, too.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Http {
    exchange: Exchange,
}

impl Http {
    /// A client with pooled connections, HTTP/1.1. TLS by aws-lc-rs, see [`trusting`].
    ///
    /// # Errors
    /// Where `SSL_CERT_FILE` or `SSL_CERT_DIR` is set and names no root certificate.
    pub(crate) fn new() -> Result<Self, TlsError> {
        let system = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider());
        let is_named = ROOTS.iter().any(|name| env::var_os(name).is_some());
        trusting(system, is_named).map(Self::with_tls)
    }

    pub(crate) fn with_tls(tls: HttpsConnectorBuilder<WantsSchemes>) -> Self {
        let mut tcp = tcp();
        tcp.enforce_http(false);
        let https = tls.https_or_http().enable_http1().wrap_connector(tcp);
        Self::over(pool().build::<_, Full<Bytes>>(https).map_err(BoxError::from))
    }

    /// The same for `http://` only.
    pub(crate) fn plain() -> Self {
        Self::over(pool().build::<_, Full<Bytes>>(tcp()).map_err(BoxError::from))
    }

    /// A client over any way to exchange a request for a response.
    pub(crate) fn over<S>(exchange: S) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error = BoxError>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self { exchange: BoxCloneSyncService::new(exchange) }
    }

    /// Sends `request` and reads the answer, both within `max` of time and `max_bytes`.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`], [`Failure::Connection`] or [`Failure::TooLarge`].
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        max: Duration,
        max_bytes: usize,
    ) -> Result<Answer, Failure> {
        // Boxed: the future of a TLS connection is large, and callers keep several of these.
        let exchange = self.exchange(request, max_bytes).boxed();
        tokio::time::timeout(max, exchange).await.map_err(|_| Failure::NoAnswer { waited: max })?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        max_bytes: usize,
    ) -> Result<Answer, Failure> {
        let response = self.exchange.clone().oneshot(request).await.map_err(connection)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, max_bytes).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Failure::TooLarge { max_bytes }
            } else {
                connection(error)
            }
        })?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }
}

/// Where somebody names root certificates of his own.
const ROOTS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Servers are verified by the system's root certificates, which may be named by [`ROOTS`]. A system that
/// has none, as the controller's image, trusts those that Mozilla trusts; they are built in. Where some
/// are named, nobody else is trusted in their place.
fn trusting(
    system: io::Result<HttpsConnectorBuilder<WantsSchemes>>,
    is_named: bool,
) -> Result<HttpsConnectorBuilder<WantsSchemes>, TlsError> {
    match system {
        Ok(tls) => Ok(tls),
        Err(error) if is_named => {
            let [file, folder] = ROOTS;
            let error = chain(&error);
            Err(TlsError(format!("{error}; {file} or {folder} is set and must name some")))
        }
        Err(_) => HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(provider())
            .map_err(|error| TlsError(chain(&error))),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT_MAX));
    tcp.set_nodelay(true);
    tcp
}

fn pool() -> Builder {
    let mut pool = Client::builder(TokioExecutor::new());
    pool.pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
    pool
}

fn connection(error: BoxError) -> Failure {
    Failure::Connection { detail: chain(&*error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_root_certificates_has_those_that_are_built_in() {
        let none = || Err(io::Error::other("no native root CA certificates found"));
        assert!(trusting(none(), false).is_ok());
        let refused = trusting(none(), true).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "TLS cannot be set up: no native root CA certificates found; SSL_CERT_FILE or SSL_CERT_DIR is \
             set and must name some"
        );
    }
}
