//! The load: clients that count what they lose.
//!
//! Three kinds run at once against one address, on a fixed schedule that does not wait for answers
//! (open loop), so that a slow server does not lower the rate:
//! * *new*: each request on a connection of its own.
//! * *kept*: requests on connections that are kept alive, and recycled by the client after some
//!   seconds.
//! * *long*: connections that live for a set time, with a request at each heartbeat.
//!
//! # What counts as a loss
//! The rule is that of any HTTP client library with a connection pool:
//! * A request fails if its connection cannot be made, or ends or stays silent after the request was
//!   written and before the whole answer was read, or if the answer is not `200`. There is **no**
//!   second try: a client may not repeat a request that the server may have carried out.
//! * A *kept* connection that the server has closed by the time of the next request is not a
//!   failure: every pool sees that before it sends, and opens another one. It is counted as
//!   `idle_closes`. A close that crosses the request on the wire is a failure.
//! * A *long* connection is cut if it ends, or fails a request, before its planned time, silent or
//!   not: nobody can take a web socket or a download up again on another connection. It counts once
//!   its first answer has come; where that fails, only the request counts.
//!
//! The generator runs as a process of its own inside the lab's network (`lab load`, hidden): each
//! line of its standard output is a [`Line`]. It ends when its standard input does.

mod client;
mod generator;
mod process;
mod tally;

use std::net::SocketAddr;

pub use client::FailureKind;
pub use generator::run;
pub use process::{LoadProcess, main};
pub use tally::{Counts, Line, Loss, LossKind, PodCounts, Tally};

/// Rates and times of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// The address that all load goes to
    #[arg(long)]
    pub target: SocketAddr,
    /// Requests per second on connections of their own
    #[arg(long, default_value_t = 250)]
    pub new_per_second: u32,
    /// Requests per second on kept-alive connections
    #[arg(long, default_value_t = 250)]
    pub kept_per_second: u32,
    /// Kept-alive connections
    #[arg(long, default_value_t = 50)]
    pub kept_connections: u32,
    /// Milliseconds after which the client recycles a kept-alive connection
    #[arg(long, default_value_t = 3_000)]
    pub kept_millis: u64,
    /// Long connections at a time; one that ends is followed by another
    #[arg(long, default_value_t = 50)]
    pub long_connections: u32,
    /// Milliseconds that a long connection lives
    #[arg(long, default_value_t = 20_000)]
    pub long_millis: u64,
    /// Milliseconds between two requests of a long connection
    #[arg(long, default_value_t = 500)]
    pub heartbeat_millis: u64,
    /// Milliseconds that a connect, and that an answer, may take
    #[arg(long, default_value_t = 5_000)]
    pub timeout_millis: u64,
    /// Seconds after which the load ends by itself
    #[arg(long, default_value_t = 300)]
    pub max_seconds: u64,
}

impl Settings {
    /// The rates that a scenario runs with: 600 requests per second in all.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            new_per_second: 250,
            kept_per_second: 250,
            kept_connections: 50,
            kept_millis: 3_000,
            long_connections: 50,
            long_millis: 20_000,
            heartbeat_millis: 500,
            timeout_millis: 5_000,
            max_seconds: 300,
        }
    }

    /// The command-line arguments that stand for these settings.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        // Destructured, so that a new setting cannot be forgotten here.
        let Self {
            target,
            new_per_second,
            kept_per_second,
            kept_connections,
            kept_millis,
            long_connections,
            long_millis,
            heartbeat_millis,
            timeout_millis,
            max_seconds,
        } = self;
        vec![
            format!("--target={target}"),
            format!("--new-per-second={new_per_second}"),
            format!("--kept-per-second={kept_per_second}"),
            format!("--kept-connections={kept_connections}"),
            format!("--kept-millis={kept_millis}"),
            format!("--long-connections={long_connections}"),
            format!("--long-millis={long_millis}"),
            format!("--heartbeat-millis={heartbeat_millis}"),
            format!("--timeout-millis={timeout_millis}"),
            format!("--max-seconds={max_seconds}"),
        ]
    }
}
