//! One HTTP request with bounds: a timeout for the whole of it, and a size for the answer.

use std::time::Duration;

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
#[error(
    "TLS cannot be set up: {0}; the image needs root certificates, or SSL_CERT_FILE must name them"
)]
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
    /// A client with pooled connections, HTTP/1.1. TLS by aws-lc-rs against the system's root
    /// certificates.
    ///
    /// # Errors
    /// Where the system has no root certificates.
    pub(crate) fn new() -> Result<Self, TlsError> {
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| TlsError(chain(&error)))?;
        Ok(Self::with_tls(tls))
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
