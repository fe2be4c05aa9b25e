//! The process: the API and the admin paths on one port, the worker, and TKE's controllers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::plane::Plane;
use super::service::Service;
use super::{admin, api, metadata, tke};

/// The port in the lab's network.
pub const PORT: u16 = 9445;
/// The longest body: the service's own limit for POST.
const BODY_LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// What the process is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Where to listen, and where the sides of HAProxy are
    #[arg(long)]
    pub address: Ipv4Addr,
    /// The port to listen on
    #[arg(long, default_value_t = PORT)]
    pub port: u16,
    /// HAProxy's runtime socket; without it nothing is forwarded
    #[arg(long)]
    pub haproxy_socket: Option<PathBuf>,
    /// The cluster's kubeconfig; without it nothing comes from the cluster
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}

/// Serves until the process ends. Prints a line when it listens.
///
/// # Errors
/// The address cannot be bound, or the kubeconfig cannot be used.
pub async fn serve(arguments: Arguments) -> Result<()> {
    let Arguments { address, port, haproxy_socket, kubeconfig } = arguments;
    let plane = haproxy_socket.map(|socket| Plane::new(socket, address.into())).unwrap_or_default();
    let service = Arc::new(Service::default());
    let listener = TcpListener::bind((address, port))
        .await
        .with_context(|| format!("the CLB API cannot listen on {address}:{port}"))?;
    if let Some(path) = kubeconfig {
        tokio::spawn(tke::run(client(&path).await?, Arc::clone(&service)));
    }
    let mut stdout = tokio::io::stdout();
    stdout.write_all(format!("{}\n", listener.local_addr()?).as_bytes()).await?;
    stdout.flush().await?;
    on(listener, service, plane).await
}

/// Serves on `listener`.
///
/// # Errors
/// The listener fails.
pub async fn on(listener: TcpListener, service: Arc<Service>, plane: Plane) -> Result<()> {
    let router = Router::new()
        .route("/", post(api::answer))
        .merge(admin::routes())
        .merge(metadata::routes())
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(Arc::clone(&service));
    let served = axum::serve(listener, router);
    tokio::select! {
        result = served.into_future() => result.context("the CLB API's listener failed"),
        () = service.work(plane) => Ok(()),
    }
}

/// As [`on`], in a task, at a free port of the loopback; returns where.
///
/// # Errors
/// There is no free port.
pub async fn spawn(service: Arc<Service>) -> Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        if let Err(error) = on(listener, service, Plane::default()).await {
            eprintln!("the CLB API ended: {error:#}");
        }
    });
    Ok((address, task))
}

async fn client(path: &PathBuf) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(path)
        .with_context(|| format!("the kubeconfig {} cannot be read", path.display()))?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
