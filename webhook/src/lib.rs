//! The mutating admission webhook: decode, decide, patch.
//!
//! ```text
//! API server --TLS--> server -> router -> admission -> core::inject -> patch
//!                                 |           ^
//!                              metrics      index <- watches of policies and namespaces
//! ```
//!
//! Nothing on the way of a review waits, and nothing asks the API. A review that cannot be understood
//! is allowed with a warning; a body that is no review gets an HTTP error, and the connection lives on.

pub mod admission;
pub mod args;
pub mod health;
pub mod index;
pub mod metrics;
pub mod router;
pub mod server;
mod wire;
