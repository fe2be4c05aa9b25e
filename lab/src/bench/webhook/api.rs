//! A stand-in for the API server: one policy, one namespace, one certificate, and watches on which
//! nothing happens.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;
use rcgen::CertifiedKey;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The enrolled namespace.
pub(super) const NAMESPACE: &str = "shop";

/// The stand-in. It ends with this value.
pub(super) struct Api {
    port: u16,
    task: JoinHandle<()>,
    kubeconfig: PathBuf,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
        drop(std::fs::remove_file(&self.kubeconfig));
    }
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    watch: bool,
}

impl Api {
    pub(super) async fn start(certificate: &CertifiedKey<rcgen::KeyPair>) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port is free")?;
        let port = listener.local_addr()?.port();
        let policy = json!({"metadata": {"name": "default"}, "spec": {}});
        let namespace =
            json!({"metadata": {"name": NAMESPACE, "labels": {"lameduck.dev/policy": "default"}}});
        let secret = json!({
            "metadata": {"name": "lameduck-webhook-tls", "namespace": "lameduck-system"},
            "data": {
                "tls.crt": base64(&certificate.cert.pem()),
                "tls.key": base64(&certificate.signing_key.serialize_pem()),
            },
        });
        let router = Router::new()
            .merge(resource("/apis/lameduck.dev/v1alpha1/terminationpolicies", policy))
            .merge(resource("/api/v1/namespaces", namespace))
            .merge(resource("/api/v1/namespaces/lameduck-system/secrets", secret));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the stand-in for the API server ended: {error}");
            }
        });
        let kubeconfig = std::env::temp_dir()
            .join(format!("lameduck-bench-webhook-{}.kubeconfig", std::process::id()));
        Ok(Self { port, task, kubeconfig })
    }

    /// A file with the way to this stand-in.
    pub(super) fn kubeconfig(&self) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://127.0.0.1:{}", self.port)}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "current-context": "bench",
        });
        std::fs::write(&self.kubeconfig, config.to_string())
            .with_context(|| format!("cannot write {}", self.kubeconfig.display()))?;
        Ok(self.kubeconfig.clone())
    }
}

/// A list of one object, and a watch of it that stays open.
fn resource(path: &str, object: Value) -> Router {
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": [object]});
    Router::new().route(path, get(answer)).with_state(list)
}

async fn answer(State(list): State<Value>, Query(parameters): Query<Parameters>) -> Response {
    if parameters.watch {
        Body::from_stream(stream::pending::<Result<String, std::io::Error>>()).into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], list.to_string()).into_response()
    }
}

fn base64(text: &str) -> String {
    data_encoding::BASE64.encode(text.as_bytes())
}
