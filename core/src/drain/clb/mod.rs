//! Traffic at Tencent Cloud's load balancers (CLBs): read, not guessed.
//!
//! ```text
//! reads of one CLB -> History -> what it says -.
//! another one      -> History -> what it says -+-> state -> part of the verdict on traffic
//! ```
//! A pod's traffic is off where every row of its address, on every listener and rule of every CLB that
//! carries it, reads weight 0 in reads that agree, or is gone after it was seen: at once where it was read
//! with weight 0 before, else after a while. A row that comes back takes that back. A failed, stale or
//! partial read is *unknown*.
//!
//! At weight 0 a CLB sends nothing new and leaves what is connected alone (Tencent's document 457/60064).

mod history;
mod read;

use std::sync::Arc;

use jiff::Timestamp;

pub use history::History;
pub use read::{Gap, Place, ReadOf, Row};

use super::facts::{Containers, PodFacts};
use super::reason::{EventReason, EventText};
use crate::policy::Provider;
use crate::time::{clock, later};
use crate::upgrade::facts::Zero;
use history::Says;

/// How long a CLB that a Service names may list no backend for the pod before it counts as not carrying
/// it: TKE binds within seconds, and a pod that never got ready is never bound.
const NOT_BOUND_SECONDS: u32 = 30;

/// How long the API may say that there is no such CLB before that is believed: longer than it takes until
/// a new one is known everywhere.
const NOT_FOUND_SECONDS: u32 = 60;

/// How long a look-up of the addresses of a pod may fail that no object puts behind a CLB: longer than what
/// passes by itself. An API that is away for an hour must not hold up what has nothing to do with it.
const LOOK_UP_SECONDS: u32 = 60;

/// A load balancer that carries the pod, or may.
#[derive(Clone, Debug)]
pub struct LoadBalancer {
    /// Id, `lb-…`.
    pub id: Arc<str>,
    /// What was read of it about the pod.
    pub history: History,
}

/// Whether load balancers are known that no object names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LookUp {
    /// They are, or nobody is to look.
    #[default]
    Done,
    /// Not yet.
    Pending,
    /// Not this time. Why.
    Failed(String),
}

/// What is known of a pod's load balancers. Empty: no CLB carries it.
#[derive(Clone, Debug, Default)]
pub struct ClbFacts {
    /// Those that its Services and Ingresses name, and those that a look-up of its address found.
    pub load_balancers: Vec<LoadBalancer>,
    /// Services and Ingresses whose CLB sends to ports of nodes, `Service shop/web`: no row of it is the
    /// pod's.
    pub through_nodes: Vec<Arc<str>>,
    /// Whether its address was looked up.
    pub look_up: LookUp,
    /// Why it is not known which are named; None where it is.
    pub unknown: Option<String>,
    /// TKE was reminded of this pod's weight.
    pub nudged: bool,
}

/// Where the pod's traffic stands at its load balancers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// None is known to send, or to carry it at all.
    Off(Proof),
    /// One still sends. Why.
    On(String),
    /// All that was read is off, and not often enough yet. What was read, and since when.
    Confirming(String, Timestamp),
    /// Nobody can say. Why, and when time changes it.
    Unknown(String, Option<Timestamp>),
}

/// What there is to say of load balancers that are off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    /// What was read; None where no load balancer carries the pod.
    pub(super) read: Option<String>,
    /// Why endpoints alone are believed of some.
    pub(super) remarks: Vec<String>,
    /// What somebody should know.
    pub(super) warnings: Vec<EventText>,
}

/// Reads of all load balancers together.
pub(super) fn state(facts: &ClbFacts, pod: &PodFacts, now: Timestamp) -> State {
    // Its address may belong to another pod from then on.
    let ended = pod.containers == Containers::Ended;
    let confirm = pod.policy.traffic_off.confirm_reads;
    let (mut off, mut on, mut confirming) = (Vec::new(), Vec::new(), Vec::new());
    let mut confirming_since = now;
    let mut unknown: Vec<String> = facts.unknown.iter().cloned().collect();
    let mut look_at: Option<Timestamp> = None;
    let mut proof = Proof { remarks: through_nodes(&facts.through_nodes), ..Proof::default() };
    if let Some(why) = look_up(facts) {
        // Nothing says that a CLB carries it.
        let is_auto = pod.policy.traffic_off.provider == Provider::Auto;
        let deletion = pod.deletion.as_ref().filter(|_| is_auto && facts.load_balancers.is_empty());
        let until = deletion.map(|deletion| later(deletion.requested_at, LOOK_UP_SECONDS));
        match until.filter(|until| *until <= now) {
            Some(_) => proof.remarks.push(format!(
                "no Service or Ingress names a CLB, and {why}, so only endpoints were waited for"
            )),
            None => unknown.push(why),
        }
        look_at = until.filter(|until| now < *until);
    }
    for LoadBalancer { id, history } in &facts.load_balancers {
        let mut not_before = |until: Timestamp, why: String| {
            if now >= until {
                return false;
            }
            look_at = Some(look_at.map_or(until, |at| at.min(until)));
            unknown.push(why);
            true
        };
        match history.says(id, ended, confirm, now) {
            Says::Off(evidence) => {
                off.push(evidence);
                if let Some(frontends) = history.alone() {
                    proof.warnings.push(EventText::new(
                        EventReason::LastBackend,
                        format!(
                            "the pod was the last backend with a weight on {frontends} of CLB {id}, and is \
                             going all the same: new connections there find nobody"
                        ),
                    ));
                }
            }
            Says::On(evidence) => on.push(evidence),
            Says::Confirming(evidence, since) => {
                confirming.push(evidence);
                confirming_since = confirming_since.min(since);
            }
            Says::Unknown(why) => unknown.push(why),
            Says::NotBound(since) => {
                let why = format!("CLB {id} lists no backend for the pod; it may be bound yet");
                if !not_before(later(since, NOT_BOUND_SECONDS), why) {
                    proof.remarks.push(format!("CLB {id} never listed the pod"));
                }
            }
            Says::Vanished(until, why) => {
                not_before(until, why);
            }
            Says::NotFound(since, why) => {
                let until = later(since, NOT_FOUND_SECONDS);
                let believed = clock(until);
                let absent = format!("CLB {id} does not exist for the CLB API ({why})");
                if !not_before(until, format!("{absent}; that is believed from {believed} on")) {
                    proof.remarks.push(format!("{absent}, so only endpoints were waited for"));
                    proof.warnings.push(EventText::new(
                        EventReason::ClbNotFound,
                        format!(
                            "{absent}; only endpoints were waited for. Look at the id on the Service or \
                             Ingress, and at the controller's --clb-region"
                        ),
                    ));
                }
            }
        }
    }
    // What is known to be on matters more than what is not known: it names the cause.
    if !on.is_empty() {
        on.extend(confirming);
        return State::On(on.join("; "));
    }
    if !unknown.is_empty() {
        return State::Unknown(unknown.join("; "), look_at);
    }
    if !confirming.is_empty() {
        return State::Confirming(confirming.join("; "), confirming_since);
    }
    proof.read = (!off.is_empty()).then(|| off.join("; "));
    State::Off(proof)
}

/// Whether reads prove that a pod that is not being deleted has weight 0 on all of `load_balancers`.
#[must_use]
pub fn weight_zero(load_balancers: &[LoadBalancer], confirm_reads: u32, now: Timestamp) -> Zero {
    let (mut evidence, mut unproven) = (Vec::new(), None);
    for LoadBalancer { id, history } in load_balancers {
        match history.says(id, false, confirm_reads, now) {
            Says::Off(read) => evidence.push(read),
            Says::NotBound(since) if now >= later(since, NOT_BOUND_SECONDS) => {
                evidence.push(format!("CLB {id} lists no backend for it"));
            }
            Says::NotFound(since, why) if now >= later(since, NOT_FOUND_SECONDS) => {
                evidence.push(format!("CLB {id} does not exist ({why})"));
            }
            Says::NotBound(_) => unproven = Some(format!("CLB {id} lists no backend for it yet")),
            Says::On(why) => return Zero::Takes(why.into()),
            Says::Confirming(why, _)
            | Says::Vanished(_, why)
            | Says::NotFound(_, why)
            | Says::Unknown(why) => unproven = Some(why),
        }
    }
    if let Some(why) = unproven {
        return Zero::Unproven(why.into());
    }
    if evidence.is_empty() {
        evidence.push("no CLB with weights stands in front of it".to_owned());
    }
    Zero::Proven(evidence.join("; ").into())
}

/// Why it is not known which load balancers there are that nobody names.
fn look_up(facts: &ClbFacts) -> Option<String> {
    match &facts.look_up {
        LookUp::Done => None,
        LookUp::Pending => Some("its address is being looked up".to_owned()),
        LookUp::Failed(why) => Some(why.clone()),
    }
}

fn through_nodes(owners: &[Arc<str>]) -> Vec<String> {
    let say = |owner: &Arc<str>| {
        format!(
            "{owner} sends through ports of nodes (no direct access), where no CLB shows a pod, so only its \
             endpoints were waited for"
        )
    };
    owners.iter().map(say).collect()
}
