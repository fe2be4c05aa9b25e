//! A TLS client that does as little as it can, so that what is measured is the webhook.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How to reach the webhook, and what to send.
pub(super) struct Client {
    address: SocketAddr,
    connector: TlsConnector,
    request: Vec<u8>,
}

impl Client {
    /// A client that trusts `certificate` and sends `review`.
    pub(super) fn new(certificate: &CertificateDer<'_>, review: &[u8]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone().into_owned())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A new connection is a whole handshake.
        config.resumption = Resumption::disabled();
        let mut request = format!(
            "POST /v1/mutate/pods?timeout=5s HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            review.len()
        )
        .into_bytes();
        request.extend_from_slice(review);
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        Ok(Self { address, connector: TlsConnector::from(Arc::new(config)), request })
    }

    /// The same client towards `address`.
    pub(super) fn to(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Connection> {
        let stream =
            TcpStream::connect(self.address).await.context("the webhook cannot be reached")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream =
            self.connector.connect(name, stream).await.context("the TLS handshake failed")?;
        Ok(Connection { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends one review, and reads its answer.
    pub(super) async fn review(&self, connection: &mut Connection) -> Result<()> {
        connection.stream.write_all(&self.request).await?;
        connection.stream.flush().await?;
        connection.answer().await
    }

    /// Sends one review and looks whether it is answered with a patch.
    pub(super) async fn check(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        self.review(&mut connection).await?;
        let answer = String::from_utf8_lossy(&connection.buffer);
        ensure!(answer.contains("\"patch\":\""), "it answers {answer}");
        Ok(())
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    /// The last answer.
    buffer: Vec<u8>,
}

impl Connection {
    async fn answer(&mut self) -> Result<()> {
        self.buffer.clear();
        let mut expected_bytes = usize::MAX;
        while self.buffer.len() < expected_bytes {
            let bytes = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(bytes > 0, "the webhook closed the connection");
            if expected_bytes == usize::MAX {
                expected_bytes = whole(&self.buffer)?.unwrap_or(usize::MAX);
            }
        }
        Ok(())
    }
}

/// Size of head and body together, once the head is there.
fn whole(bytes: &[u8]) -> Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes)? else { return Ok(None) };
    if response.code != Some(200) {
        bail!("the webhook answered with status {:?}", response.code);
    }
    let length =
        response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    Ok(Some(head_bytes + length.context("the answer has no content-length")?))
}
