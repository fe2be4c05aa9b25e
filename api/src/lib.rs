//! The Kubernetes API of Lameduck: its custom resources, and its public names.
//!
//! ```text
//! TerminationPolicy (cluster) <- label lameduck.dev/policy on [ Namespace | workload | pod template ]
//! Upgrade (namespace)         -> the StatefulSet of the same name, which owns it
//! ```

mod crd;
pub mod state;
mod termination_policy;
mod upgrade;

pub use crd::{termination_policy_crd, upgrade_crd};
pub use lameduck_core::names;
pub use termination_policy::{TerminationPolicy, TerminationPolicySpec};
pub use upgrade::{Upgrade, UpgradeSpec};
