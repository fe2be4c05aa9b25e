//! The controller: drains pods that end, answers their holds, keeps the webhook's certificates.
//!
//! ```text
//! API server --watches--> index --facts--> core::drain::decide --> engine --writes--> API server
//!                           |                                        (leader only)
//!                           `--> hold endpoint --answers--> holds    (every replica)
//! ```
//!
//! Start reading at [`engine`] for what is written and when, at `lameduck_core::drain` for why.

pub mod admin;
pub mod args;
pub mod certificates;
pub mod clb;
pub mod confirm;
pub mod default_policy;
pub mod descriptors;
pub mod engine;
pub mod events;
pub mod hold;
pub mod index;
mod kinds;
pub mod leader;
pub mod metrics;
pub mod namespaces;
pub mod pods;
mod queue;
pub mod relabel;
pub mod run;
pub mod serve;
pub mod slim;
pub mod state;
#[cfg(test)]
mod testing;
pub mod unprotected;
pub mod upgrade;
pub mod watch;
