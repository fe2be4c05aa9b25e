//! `kubectl lameduck`, the real program, on the lab's cluster.
//!
//! * [`check`]: each planted fault is found, and a healthy cluster is silent.

mod check;
