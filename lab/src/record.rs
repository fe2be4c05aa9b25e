//! Records what a real API server sends to an admission webhook: the corpus of the injection's tests.
//!
//! `record` applies every manifest of a folder, changes what it made in the ways that people do
//! (scale, new image, label off), and keeps each review as the API server sent it. The reviews come to
//! `serve`, which runs inside the lab's network, allows everything and prints what it gets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::cluster::Cluster;
use crate::process::output;
use crate::progress::Progress;

/// Name of the webhook configuration and of the namespace that exist while something is recorded.
const NAME: &str = "record";
/// Port of the recording server in the lab's network.
const PORT: u16 = 9444;
/// Time without a new review after which a change counts as done.
const QUIET: Duration = Duration::from_secs(2);
/// Reviews kept at most: a recording that makes more than this is in a loop.
const REVIEWS_MAX: usize = 500;

/// Records a review for each object and change into `reviews`, one file each, named after the hook, the
/// operation and the object. Files of an earlier recording are replaced. Returns how many there are.
///
/// # Errors
/// The cluster refuses a manifest, or nothing was recorded.
pub async fn record(
    cluster: &Cluster,
    manifests: &Path,
    reviews: &Path,
    progress: &Progress,
) -> Result<usize> {
    let mut server = cluster
        .enter(
            std::env::current_exe().context("cannot find this program's own file")?,
            ["record-server", "--address", &cluster.lb_address().to_string()],
        )
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the recording server")?;
    let stdout = server.stdout.take().context("the recording server has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let bundle = lines
        .next_line()
        .await?
        .context("the recording server ended before it said its certificate")?;

    kubectl(cluster, &["create", "namespace", NAME]).await?;
    let recorded = async {
        let configuration = webhook_configuration(cluster.lb_address(), &bundle);
        cluster.apply(None, &configuration.to_string()).await?;
        let mut kept = BTreeMap::new();
        // The API server takes a moment to see a new webhook.
        tokio::time::sleep(QUIET).await;
        for change in changes(manifests)? {
            let mut step = progress.step(format!("record {}", change.what));
            step.message(change.command.join(" "));
            kubectl(cluster, &change.command.iter().map(String::as_str).collect::<Vec<_>>())
                .await?;
            while let Ok(line) = tokio::time::timeout(QUIET, lines.next_line()).await {
                let line = line?.context("the recording server ended")?;
                let review: Value = serde_json::from_str(&line)?;
                kept.entry(file_name(&review, &change.what)).or_insert(review);
                ensure!(kept.len() < REVIEWS_MAX, "more than {REVIEWS_MAX} reviews");
            }
            step.done("");
        }
        Ok::<_, anyhow::Error>(kept)
    }
    .await;
    // Whatever happened, the cluster is left as it was found.
    kubectl(cluster, &["delete", "mutatingwebhookconfiguration", NAME, "--ignore-not-found"])
        .await?;
    kubectl(cluster, &["delete", "namespace", NAME, "--wait=false"]).await?;
    server.kill().await?;

    let kept = recorded?;
    ensure!(!kept.is_empty(), "the API server sent no review at all");
    std::fs::create_dir_all(reviews)?;
    for old in std::fs::read_dir(reviews)? {
        let old = old?.path();
        if old.extension().is_some_and(|extension| extension == "json") {
            std::fs::remove_file(old)?;
        }
    }
    for (name, review) in &kept {
        std::fs::write(
            reviews.join(format!("{name}.json")),
            serde_json::to_string_pretty(review)? + "\n",
        )?;
    }
    Ok(kept.len())
}

/// One thing that a person does to the cluster.
struct Change {
    what: String,
    command: Vec<String>,
}

/// Every manifest is applied; then the workloads are changed.
fn changes(manifests: &Path) -> Result<Vec<Change>> {
    let mut files = std::fs::read_dir(manifests)
        .with_context(|| format!("cannot read {}", manifests.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort();
    let change = |what: &str, command: &[&str]| Change {
        what: what.to_owned(),
        command: [&["-n", NAME], command].concat().into_iter().map(str::to_owned).collect(),
    };
    let mut changes = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "yaml")) {
        let what = file.file_stem().and_then(|stem| stem.to_str()).context("a file has no name")?;
        let path = file.to_str().context("a path is not UTF-8")?;
        changes.push(change(what, &["apply", "-f", path]));
    }
    changes.extend([
        change("new-image", &["set", "image", "deployment/plain", "web=docker.io/lab/nginx:2"]),
        change("new-image", &["set", "image", "statefulset/plain", "web=docker.io/lab/nginx:2"]),
        change("label-on", &["label", "deployment/plain", "lameduck.dev/policy=default"]),
        change("label-off", &["label", "deployment/labelled", "lameduck.dev/policy-"]),
        change("label-off", &["label", "statefulset/ondelete", "lameduck.dev/policy-"]),
    ]);
    Ok(changes)
}

/// `pod-create-deployment-plain`: what is under review, the operation, and the change that caused it, which
/// is not told twice: `deployment-create-plain`.
fn file_name(review: &Value, what: &str) -> String {
    let request = &review["request"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_ascii_lowercase();
    let operation = text(&request["operation"]);
    let kind = text(&request["kind"]["kind"]);
    // Pods of a workload have random names: the first of each kind stands for all.
    let what = what.strip_prefix(&format!("{kind}-")).unwrap_or(what);
    format!("{kind}-{operation}-{what}")
}

fn webhook_configuration(address: Ipv4Addr, bundle: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [{
            "name": "record.lameduck.dev",
            "clientConfig": {"url": format!("https://{address}:{PORT}/record"), "caBundle": bundle},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAME}},
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                 "resources": ["deployments", "statefulsets"]},
            ],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    })
}

/// `kubectl`, to its end.
async fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    let what = format!("kubectl {}", arguments.join(" "));
    output(&what, &mut cluster.kubectl(arguments)).await.map(drop)
}

/// The recording server: prints its certificate (base64 of PEM) as the first line, then every review as
/// a line. Ends with the process that reads it.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(address: Ipv4Addr) -> Result<()> {
    let certified = rcgen::generate_simple_self_signed([address.to_string()])
        .context("cannot make a certificate")?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())
        .map_err(|error| anyhow::anyhow!("cannot use the key: {error}"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_no_client_auth()
    .with_single_cert(vec![CertificateDer::from(certified.cert.der().to_vec())], key)?;
    let listener = TcpListener::bind((address, PORT)).await?;

    let (sender, mut printed) = mpsc::channel::<String>(REVIEWS_MAX);
    let router =
        Router::new().route("/record", post(move |body: Bytes| answer(sender.clone(), body)));
    let mut stdout = tokio::io::stdout();
    let bundle = base64(certified.cert.pem().into_bytes())?;
    stdout.write_all(format!("{bundle}\n").as_bytes()).await?;
    stdout.flush().await?;
    let server = axum::serve(
        TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) },
        router,
    );
    tokio::select! {
        served = server.into_future() => served?,
        () = async {
            while let Some(line) = printed.recv().await {
                // Nobody reads any more: the recording is over.
                if stdout.write_all(line.as_bytes()).await.is_err() || stdout.flush().await.is_err() {
                    return;
                }
            }
        } => {}
    }
    Ok(())
}

/// Base64, by the encoder that the Kubernetes types bring along.
fn base64(bytes: Vec<u8>) -> Result<String> {
    let text = serde_json::to_value(k8s_openapi::ByteString(bytes))?;
    text.as_str().map(str::to_owned).context("base64 is text")
}

async fn answer(sender: mpsc::Sender<String>, body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let uid = review["request"]["uid"].clone();
    // A recording that is not read any more has lost nothing.
    drop(sender.send(format!("{review}\n")).await);
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": uid, "allowed": true},
    });
    ([(CONTENT_TYPE, "application/json")], review.to_string())
}

/// A listener that hands out connections after their TLS handshake.
struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
