//! Where the traffic of a terminating pod stands, by its EndpointSlices and its load balancers.
//!
//! ```text
//! On(EndpointReady) -> Settling(since) -> Off          every step is a condition on the pod
//! On(NotReplaced)                                      not ready, but nobody else is, and one starts
//! On(ClbWeightNotZero)                                 not ready, but a load balancer still sends
//! Unknown: a watch or a load balancer is not read      never a step towards Off
//! ```
//! Off is final: the hold hears it, and the application gets its SIGTERM.

use std::time::Duration;

use jiff::Timestamp;

use super::clb;
use super::facts::{
    Condition, ConditionStatus, Containers, Endpoint, EndpointFacts, Others, PodFacts, Stale, later,
};
use super::reason::{EventReason, EventText};
use super::text;

/// Endpoints follow a deletion within some 100 ms, so that nobody needs to hear that they have not yet.
/// Two, because the API keeps whole seconds of a deletion.
const ON_AFTER_SECONDS: u32 = 2;

/// How long after its deletion a pod that is the last to serve a Service waits for another one to become
/// ready. Most applications start in less; where none does, the one that was deleted must go all the same.
const TAKEOVER_SECONDS: u32 = 120;

/// Time between two looks whether another one has become ready: that one may stand in another slice, whose
/// change does not lead to this pod.
const TAKEOVER_LOOK_SECONDS: u32 = 2;

/// A watch that breaks and is back sooner than this changes no condition: an API server that is replaced
/// breaks every watch for a moment, and a thousand pods would be written twice. Nothing gets nearer to
/// off meanwhile.
const UNKNOWN_AFTER: Duration = Duration::from_secs(5);

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
    /// A load balancer still sends to the pod, or has not been read often enough since.
    ClbWeightNotZero,
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
            Self::ClbWeightZero => "ClbWeightZero",
            Self::ClbUnknown => "ClbUnknown",
            Self::NotSelected => "NotSelected",
            Self::WatchNotFresh => "WatchNotFresh",
        }
    }
}

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
        let reason = self.reason().as_str();
        let since = match self {
            Self::Settling { since, .. } => *since,
            _ => now,
        };
        let same = |current: &Condition| {
            current.status == status
                && &*current.reason == reason
                // A Settling that starts anew is a new fact under the same words.
                && (!matches!(self, Self::Settling { .. }) || current.since == since)
        };
        if pod.traffic_off.as_ref().is_some_and(same) {
            return None;
        }
        Some(Condition { status, reason: reason.into(), message: self.message().into(), since })
    }

    /// The event that goes with a new condition.
    pub(super) fn event(&self, condition: &Condition) -> EventText {
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
                [*say_at, *look_at].into_iter().flatten().min()
            }
            Self::Off { .. } => None,
        }
    }
}

/// Whether these entries, freshly read, allow to say that traffic is off: none takes traffic.
///
/// # Errors
/// The name of the first Service that still sends.
pub fn entries_off(entries: &[Endpoint]) -> Result<(), &str> {
    match entries.iter().find(|entry| entry.takes_traffic()) {
        Some(entry) => Err(&entry.service),
        None => Ok(()),
    }
}

pub(super) fn verdict(pod: &PodFacts, endpoints: &EndpointFacts, now: Timestamp) -> Traffic {
    if let (Some(_), Some(recorded)) = (&pod.deletion, &pod.traffic_off)
        && recorded.status == ConditionStatus::True
    {
        let reason = [TrafficReason::NotSelected, TrafficReason::ClbWeightZero]
            .into_iter()
            .find(|reason| reason.as_str() == &*recorded.reason)
            .unwrap_or(TrafficReason::EndpointsNotReady);
        return Traffic::Off { reason, message: recorded.message.to_string(), recorded: true };
    }
    if let Some(Stale { why, lasts }) = &endpoints.stale {
        let brief = UNKNOWN_AFTER.saturating_sub(*lasts);
        return Traffic::Unknown {
            reason: TrafficReason::WatchNotFresh,
            message: format!(
                "it cannot be said whether traffic is off: {why}; the hold goes on until it can"
            ),
            say_at: (!brief.is_zero()).then(|| now.checked_add(brief).unwrap_or(now)),
            look_at: None,
        };
    }
    if entries_off(&endpoints.entries).is_err() {
        let sending = endpoints
            .entries
            .iter()
            .filter(|entry| entry.takes_traffic())
            .map(|entry| &*entry.service);
        return Traffic::On {
            reason: TrafficReason::EndpointReady,
            message: format!("the pod is still a ready endpoint of {}", text::services(sending)),
            say_at: said_from(pod, now),
            look_at: None,
        };
    }
    if let Some(last) = last_to_serve(pod, endpoints, now) {
        return last;
    }
    let read_off = match clb_state(pod, endpoints, now) {
        Ok(read_off) => read_off,
        Err(not_off) => return not_off,
    };
    if endpoints.services.is_empty() && endpoints.entries.is_empty() {
        return not_selected(pod, read_off, now);
    }
    settle(pod, endpoints, read_off, now)
}

/// Off, with the evidence of load balancers where there is some.
fn off(reason: TrafficReason, evidence: &str, read_off: Option<String>) -> Traffic {
    let (reason, message) = match read_off {
        Some(read) => (TrafficReason::ClbWeightZero, format!("{read}; {evidence}")),
        None => (reason, evidence.to_owned()),
    };
    Traffic::Off { reason, message, recorded: false }
}

/// The evidence that every load balancer reads off, none where no load balancer carries the pod, or the
/// verdict where that is not so.
fn clb_state(
    pod: &PodFacts,
    endpoints: &EndpointFacts,
    now: Timestamp,
) -> Result<Option<String>, Traffic> {
    let Some(facts) = &endpoints.clb else { return Ok(None) };
    let ended = pod.containers == Containers::Ended;
    match clb::state(facts, ended, pod.policy.traffic_off.confirm_reads, now) {
        clb::State::NotBound => Ok(None),
        clb::State::Off(evidence) => Ok(Some(evidence)),
        clb::State::On(message, look_at) => Err(Traffic::On {
            reason: TrafficReason::ClbWeightNotZero,
            message,
            say_at: said_from(pod, now),
            look_at,
        }),
        clb::State::Unknown(message, look_at) => Err(Traffic::Unknown {
            reason: TrafficReason::ClbUnknown,
            message,
            say_at: said_from(pod, now),
            look_at,
        }),
    }
}

/// When it becomes worth saying that traffic is on, where that is not yet.
fn said_from(pod: &PodFacts, now: Timestamp) -> Option<Timestamp> {
    let deletion = pod.deletion.as_ref()?;
    Some(later(deletion.requested_at, ON_AFTER_SECONDS)).filter(|at| now < *at)
}

/// A Service without any ready endpoint sends to those that terminate and still serve: so kube-proxy and
/// its successors do, since Kubernetes 1.28 without a switch (KEP-1669). Where another pod of the Service
/// starts, this one waits for it, for a while.
fn last_to_serve(pod: &PodFacts, endpoints: &EndpointFacts, now: Timestamp) -> Option<Traffic> {
    let until = later(pod.deletion.as_ref()?.requested_at, TAKEOVER_SECONDS);
    let mut services = endpoints
        .services
        .iter()
        .filter(|service| service.others == Others::Starting)
        .map(|service| &*service.name)
        .filter(|name| {
            let serves = |entry: &Endpoint| entry.serving && entry.terminating;
            endpoints.entries.iter().any(|entry| *entry.service == **name && serves(entry))
        })
        .peekable();
    services.peek()?;
    (now < until).then(|| Traffic::On {
        reason: TrafficReason::NotReplaced,
        message: format!(
            "no other endpoint of {} is ready yet, so new connections still come to this pod; one is \
             starting, and is waited for until {}",
            text::services(services),
            text::clock(until)
        ),
        say_at: said_from(pod, now),
        look_at: Some(later(now, TAKEOVER_LOOK_SECONDS).min(until)),
    })
}

/// Nobody lists the pod. Maybe a Service did until a moment ago, and what follows it has a lag: so it
/// settles too, from the deletion on.
fn not_selected(pod: &PodFacts, read_off: Option<String>, now: Timestamp) -> Traffic {
    let settle_seconds = pod.policy.traffic_off.settle_seconds;
    let nobody = "no Service selects the pod and no EndpointSlice lists it";
    let since = pod.deletion.as_ref().map_or(now, |deletion| deletion.requested_at);
    let due = later(since, settle_seconds);
    if now < due {
        return Traffic::Settling {
            since,
            message: format!(
                "{nobody}; settles for {settle_seconds} s, until {}",
                text::clock(due)
            ),
        };
    }
    off(TrafficReason::NotSelected, &format!("{nobody}; settled {settle_seconds} s"), read_off)
}

/// No entry takes traffic: off once that has been so for `settleSeconds`.
fn settle(
    pod: &PodFacts,
    endpoints: &EndpointFacts,
    read_off: Option<String>,
    now: Timestamp,
) -> Traffic {
    let settle_seconds = pod.policy.traffic_off.settle_seconds;
    let since = settling_since(pod, now);
    let due = later(since, settle_seconds);
    let names = endpoints
        .services
        .iter()
        .map(|service| &*service.name)
        .chain(endpoints.entries.iter().map(|entry| &*entry.service));
    let published = endpoints.entries.iter().any(|entry| entry.ready && entry.terminating);
    let evidence = format!(
        "endpoints of {} {} since {}",
        text::services(names),
        if published { "terminating (published though not ready)" } else { "not ready" },
        text::clock(since),
    );
    // Without a time to settle there is nothing to round up to.
    if settle_seconds > 0 && now < due {
        return Traffic::Settling {
            since,
            message: format!(
                "{evidence}; settles for {settle_seconds} s, until {}",
                text::clock(due)
            ),
        };
    }
    off(
        TrafficReason::EndpointsNotReady,
        &format!("{evidence}; settled {settle_seconds} s"),
        read_off,
    )
}

/// Since when the endpoints are known to be off: as our own condition says, so that a new leader goes
/// on where the last one stopped.
///
/// Clocks differ between leaders. A time in the future starts anew. A time before the deletion, which
/// the API server's clock gave, cannot be right and counts from the deletion. The rest is bounded by
/// how far two nodes' clocks are apart.
fn settling_since(pod: &PodFacts, now: Timestamp) -> Timestamp {
    // The API keeps whole seconds: rounded up, so that the wait is never shorter than asked for.
    let fresh = Timestamp::from_second(now.as_second() + i64::from(now.subsec_nanosecond() > 0))
        .unwrap_or(now);
    let recorded = pod
        .traffic_off
        .as_ref()
        .filter(|current| &*current.reason == TrafficReason::Settling.as_str())
        .map(|current| current.since)
        .filter(|since| *since <= fresh);
    let Some(since) = recorded else { return fresh };
    match &pod.deletion {
        Some(deletion) if since < deletion.requested_at => deletion.requested_at,
        _ => since,
    }
}
