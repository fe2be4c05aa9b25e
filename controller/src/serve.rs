//! A small HTTP/1.1 server: a cap on connections, a time-out for idle ones, an orderly end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

/// Time for the header of a request, and between two requests of a kept connection.
const HEADER_MAX: Duration = Duration::from_secs(30);
/// Time for answers that are on their way when the server ends.
const END_MAX: Duration = Duration::from_secs(5);
/// Bytes buffered per connection: requests are a line and a few headers.
const BUFFER_BYTES: usize = 16 * 1024;
/// Pause after an error of `accept`, for example no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `address`. Where the machine has no IPv6, `[::]` becomes `0.0.0.0`.
///
/// # Errors
/// What the system says.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))).await
        }
        other => other,
    }
}

/// Serves until `stop`, at most `connections_max` connections at once; the rest waits to be accepted.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(connections_max));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(stream, peer, router.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(END_MAX, connections.wait()).await.is_err() {
        warn!("Connections were still open at the end.");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    // Answers are small and somebody waits for them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY could not be set.");
    }
    let service = router.map_request(move |mut request: axum::http::Request<_>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_MAX)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "A connection ended early.");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    async fn ask(stream: &mut TcpStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    }

    async fn read(stream: &mut TcpStream) -> String {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test]
    async fn an_answer_that_is_on_its_way_arrives_and_its_connection_ends() {
        let release = Arc::new(Notify::new());
        let arrived = Arc::new(Notify::new());
        let (waits, tells) = (Arc::clone(&release), Arc::clone(&arrived));
        let router = Router::new().route(
            "/",
            get(move |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
                tells.notify_one();
                waits.notified().await;
                peer.ip().to_string()
            }),
        );
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, 1, stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await;
        arrived.notified().await;
        release.notify_one();
        assert!(read(&mut stream).await.ends_with("127.0.0.1"), "the peer is known");

        // A second connection waits for the only slot; the first is kept alive.
        let mut waiting = TcpStream::connect(address).await.unwrap();
        ask(&mut waiting).await;
        ask(&mut stream).await;
        arrived.notified().await;
        stop.cancel();
        tokio::task::yield_now().await;
        release.notify_one();
        let answer = read(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
            "{answer}"
        );
        assert_eq!(read(&mut stream).await, "", "closed");
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}
