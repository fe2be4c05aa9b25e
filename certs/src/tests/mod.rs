//! The promise of this crate, tested in virtual time with real keys: at no moment of any rotation
//! does an API server refuse what a webhook replica serves, though both follow with a lag.

mod handshake;
mod keeper;
mod plan;
mod walk;
mod world;
