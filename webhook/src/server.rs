//! The accept loops: TLS for reviews, plain for health and metrics.
//!
//! A connection carries one request at a time (HTTP/1.1), so the cap on connections bounds the work.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;

/// A handshake takes a few round trips; who needs longer is not an API server.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that sends no request at all is closed after this time.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the 90 s for which an API server keeps an idle connection: it is the API server that
/// ends them, so no request meets a connection that we are just closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Out of file descriptors: accepting at once again would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How connections are accepted.
pub struct Server {
    /// TLS; `None` serves plain.
    pub tls: Option<TlsAcceptor>,
    /// What answers.
    pub router: Router,
    /// Most connections at a time. More are closed at once.
    pub max_connections: usize,
    /// Where connections are counted; `None` for a port that does not matter.
    pub metrics: Option<Arc<Metrics>>,
}

impl Server {
    /// Accepts until `stop` is cancelled, then answers what is in flight with `Connection: close`, for
    /// at most `drain`.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken, drain: Duration) {
        let slots = Arc::new(Semaphore::new(self.max_connections));
        let tasks = TaskTracker::new();
        let server = Arc::new(self);
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match stream {
                Ok((stream, _)) => match Arc::clone(&slots).try_acquire_owned() {
                    Ok(slot) => {
                        let server = Arc::clone(&server);
                        tasks.spawn(server.connection(stream, stop.clone(), slot));
                    }
                    Err(_) => {
                        if let Some(metrics) = &server.metrics {
                            metrics.connections_refused.inc();
                        }
                        debug!("connection closed: there are too many");
                    }
                },
                Err(error) => {
                    if is_about_one_connection(&error) {
                        continue;
                    }
                    warn!(%error, "cannot accept connections; trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        if timeout(drain, tasks.wait()).await.is_err() {
            warn!(connections = tasks.len(), "connections cut: they did not end in time");
        } else {
            info!("every connection has ended");
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        stop: CancellationToken,
        slot: OwnedSemaphorePermit,
    ) {
        let _slot = slot;
        let _count = self.metrics.as_deref().map(Counted::new);
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "connection lost before its first byte");
            return;
        }
        let Some(tls) = &self.tls else {
            self.serve(stream, &stop).await;
            return;
        };
        match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, &stop).await,
            failed => {
                if let Some(metrics) = &self.metrics {
                    metrics.handshake_failures.inc();
                }
                match failed {
                    Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
                    _ => debug!("TLS handshake took too long"),
                }
            }
        }
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin, stop: &CancellationToken) {
        let has_request = AtomicBool::new(false);
        let router = &self.router;
        let service = service_fn(|request: Request<Incoming>| {
            has_request.store(true, Ordering::Relaxed);
            // Cloning a router clones one pointer; a router is always ready.
            router.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut first_request = pin!(sleep(FIRST_REQUEST_TIMEOUT));
        let mut is_stopping = false;
        let mut is_young = true;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        debug!(%error, "connection ended early");
                    }
                    return;
                }
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = first_request.as_mut(), if is_young => {
                    if !has_request.load(Ordering::Relaxed) {
                        debug!("connection closed: it sent no request");
                        return;
                    }
                    is_young = false;
                }
            }
        }
    }
}

/// Counts a connection for as long as it lives.
struct Counted<'a>(&'a Metrics);

impl<'a> Counted<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.connections.inc();
        Self(metrics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// Whether an error of `accept` concerns the peer that was being accepted, and nobody else.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
