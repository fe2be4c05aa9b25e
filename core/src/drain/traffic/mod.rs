//! Where the traffic of a terminating pod stands, by its EndpointSlices and its load balancers.
//!
//! ```text
//! On(EndpointReady) -> Settling(since) -> Off          every step is a condition on the pod
//! On(NotReplaced)                                      not ready, but nobody else is, and one starts
//! On(ClbWeightNotZero)                                 settled, but a load balancer still sends
//! Unknown: a watch or a load balancer is not read      never a step towards Off
//! ```
//! Endpoints settle while load balancers are read, so that one wait is not added to the other.
//! Off is final: the hold hears it, and the application gets its SIGTERM.

mod verdict;

use jiff::Timestamp;

use super::facts::{Condition, ConditionStatus, PodFacts};
use super::reason::{EventReason, EventText};
use crate::time::later;

pub use verdict::{TAKEOVER_SECONDS, entries_off};
pub(super) use verdict::{nudge, verdict};

/// Reason of the `TrafficOff` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrafficReason {
    /// An endpoint is still ready.
    EndpointReady,
    /// No endpoint of a Service is ready, so that its traffic still comes here, and another one starts.
    NotReplaced,
    /// No endpoint is ready; waiting for what follows endpoints with a lag.
    Settling,
    /// No endpoint has been ready for long enough.
    EndpointsNotReady,
    /// A load balancer still sends to the pod.
    ClbWeightNotZero,
    /// Load balancers read off, and are to be read again.
    ClbConfirming,
    /// The same as `EndpointsNotReady`, and every load balancer reads off.
    ClbWeightZero,
    /// A load balancer could not be read.
    ClbUnknown,
    /// No Service selects the pod, and no EndpointSlice lists it.
    NotSelected,
    /// A watch is not fresh, or has not been read once.
    WatchNotFresh,
}

impl TrafficReason {
    /// The word in the condition and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndpointReady => "EndpointReady",
            Self::NotReplaced => "NotReplaced",
            Self::Settling => "Settling",
            Self::EndpointsNotReady => "EndpointsNotReady",
            Self::ClbWeightNotZero => "ClbWeightNotZero",
            Self::ClbConfirming => "ClbConfirming",
            Self::ClbWeightZero => "ClbWeightZero",
            Self::ClbUnknown => "ClbUnknown",
            Self::NotSelected => "NotSelected",
            Self::WatchNotFresh => "WatchNotFresh",
        }
    }

    /// Those about load balancers that are waited for, after endpoints have settled.
    const CLB: [Self; 3] = [Self::ClbWeightNotZero, Self::ClbConfirming, Self::ClbUnknown];

    fn is_written_in(self, condition: &Condition) -> bool {
        *condition.reason == *self.as_str()
    }
}

/// Time between two writes of one condition whose reason stays and whose message does not.
const SAY_AGAIN_SECONDS: u32 = 30;

/// Where the traffic of a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// New connections may still be sent to the pod.
    On {
        /// Why.
        reason: TrafficReason,
        /// The evidence.
        message: String,
        /// When it becomes worth saying, where it is not yet.
        say_at: Option<Timestamp>,
        /// When to look again, where time alone can change this.
        look_at: Option<Timestamp>,
    },
    /// No endpoint takes traffic since then.
    Settling {
        /// Since when, as far as the objects tell.
        since: Timestamp,
        /// The evidence.
        message: String,
    },
    /// Proven off.
    Off {
        /// What proves it.
        reason: TrafficReason,
        /// The evidence.
        message: String,
        /// The pod says so already: nothing is to be proven again.
        recorded: bool,
        /// What somebody should know, to be said once.
        warnings: Vec<EventText>,
    },
    /// Nobody can say. Never taken for off.
    Unknown {
        /// What cannot be said.
        reason: TrafficReason,
        /// Why.
        message: String,
        /// When it becomes worth saying, where it is not yet.
        say_at: Option<Timestamp>,
        /// When to look again, where time alone can change this.
        look_at: Option<Timestamp>,
    },
}

impl Traffic {
    /// Whether traffic is proven off.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        matches!(self, Self::Off { .. })
    }

    /// Whether the pod's own condition proves it, so that nothing has to be confirmed or written.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        matches!(self, Self::Off { recorded: true, .. })
    }

    /// The reason of the condition.
    #[must_use]
    pub const fn reason(&self) -> TrafficReason {
        match self {
            Self::Settling { .. } => TrafficReason::Settling,
            Self::On { reason, .. } | Self::Off { reason, .. } | Self::Unknown { reason, .. } => {
                *reason
            }
        }
    }

    /// The evidence, for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::On { message, .. }
            | Self::Settling { message, .. }
            | Self::Off { message, .. }
            | Self::Unknown { message, .. } => message,
        }
    }

    /// The condition to write; none where the pod's own has this status and reason already.
    pub(super) fn condition(&self, pod: &PodFacts, now: Timestamp) -> Option<Condition> {
        let status = match self {
            Self::Off { recorded: true, .. }
            | Self::On { say_at: Some(_), .. }
            | Self::Unknown { say_at: Some(_), .. } => return None,
            Self::On { .. } | Self::Settling { .. } => ConditionStatus::False,
            Self::Off { .. } => ConditionStatus::True,
            Self::Unknown { .. } => ConditionStatus::Unknown,
        };
        let reason = self.reason();
        let since = match self {
            Self::Settling { since, .. } => *since,
            _ => now,
        };
        let same = |current: &Condition| {
            current.status == status
                && reason.is_written_in(current)
                // A Settling that starts anew is a new fact under the same words.
                && (!matches!(self, Self::Settling { .. }) || current.since == since)
                && self.say_again_at(current).is_none_or(|at| now < at)
        };
        if pod.traffic_off.as_ref().is_some_and(same) {
            return None;
        }
        let (reason, message) = (reason.as_str().into(), self.message().into());
        Some(Condition { status, reason, message, since })
    }

    /// When a condition with the same reason is due for other words, where it is at all.
    fn say_again_at(&self, current: &Condition) -> Option<Timestamp> {
        // What is read of load balancers changes while the reason stays.
        let is_clb = TrafficReason::CLB.contains(&self.reason());
        let same_reason = is_clb && self.reason().is_written_in(current);
        let other_words = same_reason && *current.message != *self.message();
        other_words.then(|| later(current.since, SAY_AGAIN_SECONDS))
    }

    /// The events that go with a new condition: none where only its message is new.
    pub(super) fn events(&self, pod: &PodFacts, condition: &Condition) -> Vec<EventText> {
        let is_clb = TrafficReason::CLB.contains(&self.reason());
        let same_reason = |current: &Condition| current.reason == condition.reason;
        if is_clb && pod.traffic_off.as_ref().is_some_and(same_reason) {
            return Vec::new();
        }
        let mut events = vec![self.event(condition)];
        if let Self::Off { warnings, .. } = self {
            events.extend(warnings.iter().cloned());
        }
        events
    }

    fn event(&self, condition: &Condition) -> EventText {
        let reason = match self {
            Self::On { .. } => EventReason::WaitingForTraffic,
            Self::Settling { .. } => EventReason::TrafficSettling,
            Self::Off { .. } => EventReason::TrafficOff,
            Self::Unknown { .. } => EventReason::TrafficUnknown,
        };
        EventText::new(reason, condition.message.to_string())
    }

    /// When time alone changes the verdict.
    pub(super) fn due(&self, pod: &PodFacts) -> Option<Timestamp> {
        match self {
            Self::Settling { since, .. } => {
                Some(later(*since, pod.policy.traffic_off.settle_seconds))
            }
            Self::On { say_at, look_at, .. } | Self::Unknown { say_at, look_at, .. } => {
                let again = pod.traffic_off.as_ref().and_then(|current| self.say_again_at(current));
                [*say_at, *look_at, again].into_iter().flatten().min()
            }
            Self::Off { .. } => None,
        }
    }
}
