//! The stand-in for TKE's service and ingress controllers: Services, Ingresses and pods become targets
//! and weights of CLB, late, and through the same tasks as everybody's writes.
//!
//! * [`desired`]: objects -> targets of each listener and rule. Pure.
//! * [`weights`]: the annotations that set weights. Pure.
//! * `sync`: targets as they are and as they should be -> the next write. Pure.
//! * `controller`: the watches, the lag, and the writes.

mod controller;
pub mod desired;
pub mod sync;
pub mod weights;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use controller::run;
pub use desired::SyncError;

/// How the controllers behave.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// How late a change reaches a load balancer's queue. What is on its way keeps its time.
    pub lag_millis: u64,
    /// The same for some load balancers alone.
    pub load_balancers: BTreeMap<String, u64>,
    /// How often what others have written is looked for, and reverted.
    pub sync_millis: u64,
}

impl Default for Settings {
    /// Nothing is published; this is what is seen.
    fn default() -> Self {
        Self { lag_millis: 2_000, load_balancers: BTreeMap::new(), sync_millis: 10_000 }
    }
}

impl Settings {
    fn lag(&self, load_balancer: &str) -> Duration {
        let millis = self.load_balancers.get(load_balancer).unwrap_or(&self.lag_millis);
        Duration::from_millis(*millis)
    }
}
