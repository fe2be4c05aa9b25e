//! The promise on a real cluster: `cargo lab test` brings one up and runs this.
//!
//! * [`scenarios`]: nothing is lost, where the same work without Lameduck loses.
//! * [`safeguards`]: take one away, and the loss is back. So the scenarios can fail.
//! * [`admission`]: what the API server makes of our patches and our policies.
//! * [`clb`]: pods behind Tencent's load balancers.
//! * [`faults`]: parts that die while pods end.
//! * [`holds`]: the hold in containers of all kinds.
//! * [`kube_proxy`]: what clients inside the cluster see.
//! * [`upgrade`]: leaders that die in an upgrade, and what it leaves behind.
//!
//! The tests share a cluster and load it: one at a time ([`bench::Bench`]).

mod admission;
mod bench;
mod clb;
mod faults;
mod holds;
mod kube_proxy;
mod safeguards;
mod scenarios;
mod upgrade;
