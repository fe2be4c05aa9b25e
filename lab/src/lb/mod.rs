//! The load balancer: what Tencent Cloud's CLB and TKE are to a cluster, on one machine.
//!
//! ```text
//! pods of a Service --stand_in--> desired targets --plan--> changes --haproxy--> data plane
//! ```
//! * [`haproxy`]: the data plane: HAProxy, one port per side of a scenario, changed through its
//!   runtime API. Layer 4, so that a client's connection is one connection to one pod, but for some
//!   sides of layer 7. [`configuration`]: what it is told at its start; `answers`: what it says.
//! * [`plan`]: current servers and desired targets -> what to change. Pure.
//! * [`stand_in`]: keeps a side's targets equal to a Service's pods, as TKE's service controller
//!   does, with its lag.
//!
//! The data plane has a CLB's semantics: weight 0 takes no new connection and leaves the existing
//! ones alone; a target that is removed loses its connections. There are no health checks, no second
//! tries and no other target for a connection that failed: what the backend does, the client sees.

mod answers;
pub mod configuration;
pub mod haproxy;
pub mod plan;
pub mod stand_in;

use std::net::SocketAddr;

/// The weight of a target that takes traffic: TKE's default.
pub const FULL_WEIGHT: u32 = 10;

/// A target of the load balancer, as it should be.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// A name that is never used again for another pod.
    pub name: String,
    /// Where the pod listens.
    pub address: SocketAddr,
    /// The share of new connections; 0 for none.
    pub weight: u32,
}
