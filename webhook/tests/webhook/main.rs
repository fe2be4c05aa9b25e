//! The webhook from the outside: bytes in, bytes out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it cannot go on")]

mod api_server;
mod corpus;
mod http;
mod recorded;
