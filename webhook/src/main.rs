//! `lameduck-webhook`: wires the parts together and waits for the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use lameduck_certs::{ReloadingResolver, server_config};
use lameduck_core::inject::Settings;
use lameduck_webhook::{
    args::Args,
    health::{self, Health},
    index::Index,
    metrics::Metrics,
    router::{self, Reviewer},
    server::Server,
};
use rustls::server::NoServerSessionStorage;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Health checks and scrapes come one at a time.
const MAX_HEALTH_CONNECTIONS: usize = 64;

// One thread: the work between two awaits is some ten microseconds, and a thread more would only move
// connections between cores.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("--log {:?} is no level and no list of directives", args.log))?;
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another crypto provider is installed already");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;

    let client = kube::Client::try_default().await.context(
        "no way to the API server: neither a service account nor a kubeconfig can be used",
    )?;
    let index = Index::default();
    let metrics = Arc::new(Metrics::new());
    let certificate = ReloadingResolver::new();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let settings = Settings {
        hold_image: args.hold_image.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut tls = server_config(Arc::clone(&certificate)).context("cannot set TLS up")?;
    // API servers never resume a session: tickets would cost every handshake time and memory.
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    let reviews = Server {
        tls: Some(TlsAcceptor::from(Arc::new(tls))),
        router: router::router(Reviewer::new(index.clone(), settings, Arc::clone(&metrics))),
        max_connections: args.max_connections as usize,
        metrics: Some(Arc::clone(&metrics)),
    };
    let plain = Server {
        tls: None,
        router: health::router(Health {
            index: index.clone(),
            certificate: Arc::clone(&certificate),
            metrics,
            is_stopping: Arc::clone(&is_stopping),
        }),
        max_connections: MAX_HEALTH_CONNECTIONS,
        metrics: None,
    };
    let listener = bind(args.listen).await?;
    let health_listener = bind(args.health_listen).await?;

    // The watches end with the process: nothing of theirs has to be finished.
    tokio::spawn(index.follow(client.clone()));
    tokio::spawn(certificate.follow(client, args.namespace.clone()));
    let stop = CancellationToken::new();
    let drain = Duration::from_secs(args.drain_seconds);
    let serving = tokio::spawn(reviews.run(listener, stop.clone(), drain));
    // Health and metrics stay to the end: they say that the process is stopping.
    tokio::spawn(plain.run(health_listener, CancellationToken::new(), drain));
    info!(
        listen = %args.listen,
        health_listen = %args.health_listen,
        hold_image = args.hold_image,
        "webhook started"
    );

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping: no new connections, requests in flight are answered");
    is_stopping.store(true, Ordering::Relaxed);
    stop.cancel();
    serving.await.context("the accept loop failed")?;
    Ok(())
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}
