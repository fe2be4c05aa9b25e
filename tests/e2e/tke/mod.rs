//! Everything behind Tencent's load balancers. It stands together, and last by name, because Lameduck is
//! installed anew where it has to ask somebody else.
//!
//! * [`clb`]: what conditions and Events say.
//! * [`upgrade`]: leaders that die in an upgrade, and what it leaves behind.
//! * [`safeguards`], [`scenarios`] and [`courses`]: what is lost under load.

mod clb;
pub(crate) mod courses;
pub(crate) mod safeguards;
pub(crate) mod scenarios;
mod upgrade;
