//! Settings, as flags or environment variables.

use std::net::SocketAddr;

use clap::Parser;
use lameduck_core::names::SYSTEM_NAMESPACE;

/// Mutating admission webhook of Lameduck.
#[derive(Clone, Debug, Parser)]
#[command(name = "lameduck-webhook", version)]
pub struct Args {
    /// Address for reviews (TLS).
    #[arg(long, env = "LAMEDUCK_LISTEN", default_value = "[::]:9443")]
    pub listen: SocketAddr,

    /// Address for /healthz, /readyz and /metrics (plain HTTP).
    #[arg(long, env = "LAMEDUCK_HEALTH_LISTEN", default_value = "[::]:8081")]
    pub health_listen: SocketAddr,

    /// Namespace of the installation: where the serving certificate's Secret is.
    #[arg(long, env = "LAMEDUCK_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub namespace: String,

    /// Image of the init container that brings the hold into a pod.
    #[arg(long, env = "LAMEDUCK_HOLD_IMAGE", default_value = "docker.io/lameduck/hold:0.1.0")]
    pub hold_image: String,

    /// Most connections at a time. An API server keeps 25 idle ones, and opens more under load.
    #[arg(long, env = "LAMEDUCK_MAX_CONNECTIONS", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_connections: u32,

    /// Seconds that requests in flight get at the end of the process.
    #[arg(long, env = "LAMEDUCK_DRAIN_SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain_seconds: u64,

    /// What is logged: a level, or directives such as `info,lameduck_webhook=debug`.
    #[arg(long, env = "LAMEDUCK_LOG", default_value = "info")]
    pub log: String,
}
