//! Upgrades of StatefulSets, planned in a cluster in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it cannot go on")]

mod bare;
mod happy;
mod health;
mod limits;
mod stop;
mod stray;
mod surge;
mod template;
mod turns;
mod walks;
mod world;
