//! Upgrades of StatefulSets, one ordinal after the other: weight 0, proof, drain, delete, verify, next.
//!
//! ```text
//! facts -> plan -> status as it is to be, and one action
//!   claims      what each ordinal waits for that is out of service
//!   progress    how far they are, and what takes too long
//!   candidates  which one is next, or why none may be
//!   serving     which pods take traffic, and which of them is the last
//!   weights     the annotation lb-rs-weight: what is ours in it, and what its author's
//!   surge       one pod more meanwhile
//! ```

mod actions;
mod candidates;
pub mod census;
mod claims;
mod conditions;
mod events;
pub mod facts;
pub mod object;
pub mod ours;
mod plan;
mod progress;
pub mod reason;
mod serving;
mod surge;
mod text;
pub mod weights;
mod words;
mod zeros;

pub use actions::Action;
pub use events::{Told, events};
pub use plan::{Plan, plan};
