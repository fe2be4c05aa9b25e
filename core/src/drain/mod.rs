//! How a pod ends: is its traffic off, may its object go, what does a hold hear.
//!
//! ```text
//! PodFacts + EndpointFacts + freshness + now -> decide -> Decision
//!                                                         |-- condition TrafficOff   (leader writes it)
//!                                                         |-- finalizer: keep or remove, and why
//!                                                         |-- events
//!                                                         |-- reminder of TKE
//!                                                         `-- when to look again
//! PodFacts + now                             -> answer  -> what a hold in that pod hears (every replica)
//! Report of a hold                           -> drained -> condition Drained, event
//! ```
//!
//! The condition on the pod is the only memory: a process that dies between two steps is replaced by
//! one that reads the pod and goes on. What is unknown is never taken for *off*.

mod answer;
pub mod clb;
mod facts;
mod finalizer;
mod reason;
mod release;
mod report;
mod text;
mod traffic;

#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use answer::{Answer, AnswerReason, HoldState, answer, hold_deadline};
pub use facts::{
    Condition, ConditionStatus, Containers, Deletion, Endpoint, EndpointFacts, NodeState, Others,
    PodFacts, SelectingService, Stale,
};
pub use finalizer::{Finalizer, KeepReason, RemoveReason};
pub use reason::{EventKind, EventReason, EventText};
pub use release::Release;
pub use report::{Outcome, Report, drained};
pub use traffic::{TAKEOVER_SECONDS, Traffic, TrafficReason, entries_off};

/// What to do for one pod, and why. Plain data: it can be printed, compared and carried out by anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the pod's traffic stands.
    pub traffic: Traffic,
    /// The `lameduck.dev/TrafficOff` condition to write, or none where the pod's own says it already.
    pub condition: Option<Condition>,
    /// Whether the object may go.
    pub finalizer: Finalizer,
    /// The events that follow once the condition has been written.
    pub condition_events: Vec<EventText>,
    /// Remind TKE of the pod's weight, by annotations on the pod; the event that follows.
    pub nudge: Option<EventText>,
    /// The event that follows once the finalizer has been taken off.
    pub finalizer_event: Option<EventText>,
    /// When time alone can change this decision. None: only a change of the facts can.
    pub next_check: Option<Timestamp>,
}

/// Decides what to do for one pod. Total: every state of the world gets a decision with a reason.
///
/// A pod that is not terminating gets nothing at all.
#[must_use]
pub fn decide(pod: &PodFacts, endpoints: &EndpointFacts, now: Timestamp) -> Decision {
    let traffic = traffic::verdict(pod, endpoints, now);
    let Some(deletion) = &pod.deletion else {
        return Decision {
            traffic,
            condition: None,
            finalizer: Finalizer::Keep(KeepReason::NotTerminating),
            condition_events: Vec::new(),
            nudge: None,
            finalizer_event: None,
            next_check: None,
        };
    };
    let finalizer = finalizer::decide(pod, deletion, &traffic, now);
    let condition = traffic.condition(pod, now);
    let events = condition.as_ref().map(|condition| traffic.events(pod, condition));
    let nudge = traffic::nudge(pod, endpoints, &traffic, now);
    let finalizer_event = finalizer.event(pod, &traffic);
    let next_check = [traffic.due(pod), finalizer::due(pod, deletion, &finalizer)]
        .into_iter()
        .flatten()
        .filter(|due| *due > now)
        .min();
    Decision {
        traffic,
        condition,
        finalizer,
        condition_events: events.unwrap_or_default(),
        nudge,
        finalizer_event,
        next_check,
    }
}
