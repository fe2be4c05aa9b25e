//! The promise on a real cluster: `cargo lab test` brings one up and runs this.
//!
//! * [`scenarios`]: nothing is lost, where the same work without Lameduck loses.
//! * [`safeguards`]: take one away, and the loss is back. So the scenarios can fail.
//! * [`admission`]: what the API server makes of our patches and our policies.
//! * [`cli`]: what `kubectl lameduck` says.
//! * [`faults`]: parts that die while pods end.
//! * [`holds`]: the hold in containers of all kinds.
//! * [`kube_proxy`]: what clients inside the cluster see.
//! * [`cli`]: `kubectl lameduck`, the real program.
//! * [`tke`]: all of that for pods behind Tencent's load balancers.
//!
//! The tests share a cluster and load it: one at a time ([`bench::Bench`]). Only scenarios and safeguards are
//! played together, and each test looks at its own ([`played`]). To play a single one:
//!
//! ```text
//! cargo lab test -p lameduck-tests --test e2e -- scenarios::delete
//! ```

mod admission;
mod bench;
mod cli;
mod faults;
mod holds;
mod kube_proxy;
mod played;
mod safeguards;
mod scenarios;
mod tke;
