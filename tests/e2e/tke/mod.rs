//! Everything behind Tencent's load balancers. It stands together, and last by name, because Lameduck is
//! installed anew where it has to ask somebody else.
//!
//! * [`clb`]: what conditions and Events say.
//! * [`safeguards`] and [`scenarios`]: what is lost under load.

mod clb;
pub(crate) mod safeguards;
pub(crate) mod scenarios;
