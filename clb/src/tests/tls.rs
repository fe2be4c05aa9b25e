//! TLS over a real socket: what is verified, and under which name.

use std::sync::Arc;

use hyper_rustls::HttpsConnectorBuilder;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::stub::{SECRET_ID, SECRET_KEY, environment, settings};
use crate::clock::Clock;
use crate::http::Http;
use crate::{Client, Endpoint, Failure};

/// A server for `localhost`, and what a client must trust.
fn identity() -> (ServerConfig, RootCertStore) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key.into())
        .unwrap();
    (config, roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn client(roots: RootCertStore, address: &str) -> Client {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut settings = settings(environment(&[
        ("TENCENTCLOUD_SECRET_ID", SECRET_ID),
        ("TENCENTCLOUD_SECRET_KEY", SECRET_KEY),
    ]));
    settings.endpoint =
        Endpoint::new(address).unwrap().with_host("clb.tencentcloudapi.com").unwrap();
    settings.limits.tries_max = 1;
    let http = Http::with_tls(HttpsConnectorBuilder::new().with_tls_config(config));
    Client::over(http, Clock::System, settings).unwrap()
}

#[tokio::test]
async fn the_server_is_verified_by_its_address() {
    let (config, roots) = identity();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\"lb-1\"}") {
                assert!(socket.read_buf(&mut request).await.unwrap() > 0);
            }
            let body = r#"{"Response":{"Listeners":[],"RequestId":"r"}}"#;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let good = client(roots.clone(), &format!("https://localhost:{port}"));
    assert!(good.describe_targets("lb-1", &[]).await.unwrap().is_complete());
    for wrong in [
        client(roots, &format!("https://127.0.0.1:{port}")),
        client(RootCertStore::empty(), &format!("https://localhost:{port}")),
    ] {
        let error = wrong.describe_targets("lb-1", &[]).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Connection { .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
