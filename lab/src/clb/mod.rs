//! The stand-ins for Tencent Cloud's load balancer API (CLB) and for TKE's service and ingress
//! controllers, in front of the lab's HAProxy.
//!
//! ```text
//! client ──TC3──▶ api ─▶ faults ─▶ state ─▶ (task time) ─▶ plane ─▶ HAProxy
//!                                    ▲
//!     API server ─▶ tke ─▶ (lag) ────┘
//! ```
//! * [`model`], [`state`], [`mod@write`], `read`: load balancers, their tasks, what changes them, what
//!   is read of them. Pure.
//! * [`signature`], [`credentials`], [`limiter`], [`faults`]: who may ask, how often, and what goes wrong.
//! * `api`: `POST /` as the service answers it. [`metadata`]: a machine's role. [`admin`]: the paths
//!   under `/lab`.
//! * [`plane`]: HAProxy follows. [`tke`]: pods and Services become targets and weights.
//! * [`server`]: the process. [`process`]: what starts it, and a client for its admin paths.
//!
//! What the service documents is as it documents it. Where it documents nothing, the stand-in has one
//! way, and says so where that stands.

pub mod admin;
mod api;
pub mod calls;
pub mod credentials;
pub mod error;
pub mod faults;
pub mod limiter;
pub mod metadata;
pub mod model;
pub mod plane;
pub mod process;
mod read;
mod request;
pub mod server;
pub mod service;
pub mod signature;
pub mod state;
#[cfg(test)]
mod tests;
pub mod tke;
pub mod write;
