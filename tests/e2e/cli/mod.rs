//! `kubectl lameduck` against the real API server.

mod mutate;
