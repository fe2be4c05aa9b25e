//! The Kubernetes API of Lameduck: its custom resources, and its public names.
//!
//! ```text
//! TerminationPolicy (cluster) <- label lameduck.dev/policy on [ Namespace | workload | pod template ]
//! ```

mod crd;
mod termination_policy;

pub use crd::termination_policy_crd;
pub use lameduck_core::names;
pub use termination_policy::{TerminationPolicy, TerminationPolicySpec};
