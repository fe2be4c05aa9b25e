//! The whole client against a server in the same process.

mod calls;
mod decoding;
mod failures;
mod health;
mod secrets;
pub(crate) mod stub;
mod tls;
mod wire;
