//! The decisions of Lameduck, as pure functions: facts in, a decision and its reason out.
//!
//! ```text
//! webhook      bytes -> inject::view -> resolve -> inject -> patch, warnings
//! controller   watches -> facts -> drain -> actions, conditions, events
//! ```
//!
//! Nothing in this crate does IO, waits, or reads a clock: time is an argument. A reader who wants to
//! know why something happened to a pod reads one file of this crate.

pub mod drain;
pub mod inject;
pub mod lease;
pub mod names;
pub mod policy;
pub mod resolve;
pub mod text;
mod time;
pub mod unprotected;
pub mod upgrade;
