//! Traffic at Tencent Cloud's load balancers (CLBs): read, not guessed.
//!
//! ```text
//! reads of one CLB -> History -> what it says -.
//! another one      -> History -> what it says -+-> state -> part of the verdict on traffic
//! ```
//! A pod's traffic is off where every row of its address, on every listener and rule of every CLB that
//! carries it, reads weight 0 in reads that agree, or is gone after it was seen. A row that comes back
//! takes that back. A failed, stale or partial read is *unknown*.
//!
//! At weight 0 a CLB sends nothing new and leaves what is connected alone (Tencent's document 457/60064).

mod history;

use std::sync::Arc;

use jiff::Timestamp;

pub use history::{Gap, History, Place, ReadOf, Row};

use super::facts::later;
use history::Says;

/// How long a CLB that a Service names may list no backend for the pod before it counts as not carrying
/// it: TKE binds within seconds, and a pod that never got ready is never bound.
const NOT_BOUND_SECONDS: u32 = 30;

/// A load balancer that carries the pod, or may.
#[derive(Clone, Debug)]
pub struct LoadBalancer {
    /// Id, `lb-…`.
    pub id: Arc<str>,
    /// What was read of it about the pod.
    pub history: History,
}

/// What is known of a pod's load balancers. Empty: no CLB carries it.
#[derive(Clone, Debug, Default)]
pub struct ClbFacts {
    /// Those that its Services name, and those that a look-up of its address found.
    pub load_balancers: Vec<LoadBalancer>,
    /// Why it is not known which there are; None where it is.
    pub unknown: Option<String>,
}

/// Where the pod's traffic stands at its load balancers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// None carries it.
    NotBound,
    /// Every one reads off. The evidence.
    Off(String),
    /// Some take part in traffic, or not enough reads agree yet. Why, and when time changes it.
    On(String, Option<Timestamp>),
    /// Nobody can say. Why, and when time changes it.
    Unknown(String, Option<Timestamp>),
}

/// Reads of all load balancers together. `ended`: nothing of the pod runs any more. `confirm`: reads that
/// must agree.
pub(super) fn state(facts: &ClbFacts, ended: bool, confirm: u32, now: Timestamp) -> State {
    let (mut off, mut on, mut unknown, mut look_at) = (Vec::new(), Vec::new(), Vec::new(), None);
    unknown.extend(facts.unknown.clone());
    for load_balancer in &facts.load_balancers {
        match load_balancer.history.says(&load_balancer.id, ended, confirm, now) {
            Says::Off(evidence) => off.push(evidence),
            Says::On(evidence) => on.push(evidence),
            Says::Confirming(evidence) => on.push(format!("{evidence}; to be read again")),
            Says::Unknown(why) => unknown.push(why),
            Says::NotBound(since) => {
                let until = later(since, NOT_BOUND_SECONDS);
                if now < until {
                    let id = &load_balancer.id;
                    unknown.push(format!(
                        "CLB {id} lists no backend for the pod; it may be bound yet"
                    ));
                    look_at = Some(look_at.map_or(until, |at: Timestamp| at.min(until)));
                }
            }
        }
    }
    // What is known to be on matters more than what is not known: it names the cause.
    if !on.is_empty() {
        return State::On(on.join("; "), look_at);
    }
    if !unknown.is_empty() {
        return State::Unknown(unknown.join("; "), look_at);
    }
    if off.is_empty() { State::NotBound } else { State::Off(off.join("; ")) }
}
