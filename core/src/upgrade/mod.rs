//! Upgrades of StatefulSets, one ordinal after the other: weight 0, proof, drain, delete, verify, next.
//!
//! ```text
//! facts -> plan -> status as it is to be, and one action
//!   claims      how far each ordinal is that is out of service
//!   candidates  which one is next, or why none may be
//!   serving     which pods take traffic, and which of them is the last
//!   weights     the annotation lb-rs-weight: what is ours in it, and what its author's
//!   surge       one pod more meanwhile
//! ```

mod candidates;
pub mod census;
mod claims;
mod conditions;
mod events;
pub mod facts;
pub mod object;
pub mod ours;
mod plan;
pub mod reason;
mod serving;
mod surge;
mod text;
pub mod weights;
mod zeros;

pub use events::events;
pub use plan::{Action, Plan, plan};
