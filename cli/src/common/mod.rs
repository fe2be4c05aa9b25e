//! What every command uses: the way to the cluster, what comes out, and how a failure is told.

pub mod cluster;
pub mod failure;
pub mod finalizer;
pub mod light;
pub mod pages;
pub mod policies;
pub mod replicas;
pub mod screen;
pub mod table;
pub mod target;
pub mod words;
