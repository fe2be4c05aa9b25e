//! Client of Tencent Cloud's load balancer, CLB (API version 2018-03-17): which backends stand behind
//! a load balancer with which weight, and new weights.
//!
//! Nothing is ever made up. A call that fails says why in one line ([`Error`]); a weight that cannot be
//! read is [`Weight::Unknown`]; a part of an answer that cannot be read is a [`Gap`]. None of them is
//! zero, off or empty.
//!
//! ```no_run
//! # async fn look() -> Result<(), Box<dyn std::error::Error>> {
//! let client = lameduck_clb::Client::new(lameduck_clb::Settings::for_region("ap-guangzhou"))?;
//! let read = client.describe_targets("lb-10iq9lou", &[]).await?;
//! for row in read.rows_of("10.0.0.7".parse()?, 8080) {
//!     println!("{}: {:?}", row.listener.listener_id, row.target.weight);
//! }
//! # Ok(()) }
//! ```
//!
//! One call goes through, in this order: `credentials` (found, renewed), `limit` (its turn), `sign`,
//! `http`, `envelope` (refused or not), `retry`, and the reader of the call in [`answers`] and `decode`.

pub mod answers;
mod calls;
mod change;
mod client;
mod clock;
mod credentials;
mod decode;
mod envelope;
mod error;
mod health;
mod http;
mod limit;
mod load_balancer;
mod retry;
mod rows;
mod settings;
mod sign;
#[cfg(test)]
mod tests;
mod text;

pub use calls::{Bindings, BoundLoadBalancer, VpcAddress};
pub use change::{Backend, Location, TargetWeight, TaskId, TaskState, TaskStatus, WeightChange};
pub use client::Client;
pub use credentials::{CredentialError, CredentialSource, Environment};
pub use error::{Error, Failure, Refusal, RefusalKind};
pub use health::{Health, HealthState, TargetHealth};
pub use http::TlsError;
pub use load_balancer::{LoadBalancer, Selection};
pub use rows::{Gap, GapKind, Listener, Listeners, Row, Rule, Target, Weight};
pub use settings::{CredentialSettings, Endpoint, Limits, Settings, SettingsError};
