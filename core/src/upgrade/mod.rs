//! Upgrades of StatefulSets, pod by pod.
//!
//! [`weights`]: the weights of ordinals on a Service, set to 0 and given back.

pub mod weights;
