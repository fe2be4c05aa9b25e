//! The lab: a real two-node Kubernetes on one Linux machine, and what is run on it.
//!
//! * [`assets`]: the programs that the lab needs, fetched or built once into a cache.
//! * [`mod@bench`]: measurements against the parts' budgets.
//! * [`fuzz`]: libFuzzer on the client of the CLB API.
//! * [`images`]: container images, made without a container engine.
//! * [`cluster`]: the cluster itself, in namespaces of its own.
//! * [`cli`]: the `cargo lab` command line.
//! * [`clb`]: the stand-ins for Tencent's load balancer API and for TKE's controllers.
//! * [`lb`]: the load balancer, and the stand-in for what keeps it equal to a Service's pods.
//! * [`load`]: clients that count what they lose.
//! * [`scenario`]: pods end, without and with Lameduck, and what was lost on each side.
//! * [`suite`]: every test, on a cluster of its own.
//! * [`record`]: what the API server sends to a webhook, kept as the corpus of the injection's tests.
//! * [`progress`]: what a person sees while something takes long.
//!
//! Test gear: never shipped, and nothing that is shipped depends on it.

pub mod assets;
pub mod bench;
pub mod clb;
pub mod cli;
pub mod cluster;
pub mod fuzz;
pub mod images;
pub mod lb;
pub mod load;
pub mod process;
pub mod progress;
pub mod record;
pub mod scenario;
pub mod suite;
