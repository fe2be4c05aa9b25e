//! Upgrades of StatefulSets whose pods have no hold in them yet.

pub mod census;
