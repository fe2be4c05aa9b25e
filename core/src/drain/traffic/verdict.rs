//! The verdict on a pod's traffic, step by step.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::clb::{self, ClbFacts};
use super::super::facts::{
    Condition, ConditionStatus, Endpoint, EndpointFacts, Others, PodFacts, Stale,
};
use super::super::reason::{EventReason, EventText};
use super::super::text;
use super::{Traffic, TrafficReason};
use crate::names::CUSTOM_WEIGHT_SERVICE;
use crate::time::{clock, later};

/// Endpoints follow a deletion within some 100 ms, so that nobody needs to hear that they have not yet.
/// Two, because the API keeps whole seconds of a deletion.
const ON_AFTER_SECONDS: u32 = 2;

/// How long after its deletion a pod that is the last to serve a Service waits for another one to become
/// ready. Most applications start in less; where none does, the one that was deleted must go all the same.
pub const TAKEOVER_SECONDS: u32 = 120;

/// Time between two looks whether another one has become ready: that one may stand in another slice, whose
/// change does not lead to this pod.
const TAKEOVER_LOOK_SECONDS: u32 = 2;

/// A watch that breaks and is back sooner than this changes no condition: an API server that is replaced
/// breaks every watch for a moment, and a thousand pods would be written twice. Nothing gets nearer to
/// off meanwhile.
const UNKNOWN_AFTER: Duration = Duration::from_secs(5);

/// A load balancer's agreement is said only where it takes so long: most need one more read, a second
/// later.
const CONFIRMING_AFTER_SECONDS: u32 = 5;

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

/// The verdict. See the module's head for its steps.
pub(in crate::drain) fn verdict(
    pod: &PodFacts,
    endpoints: &EndpointFacts,
    now: Timestamp,
) -> Traffic {
    if let (Some(_), Some(recorded)) = (&pod.deletion, &pod.traffic_off)
        && recorded.status == ConditionStatus::True
    {
        let reason = [TrafficReason::NotSelected, TrafficReason::ClbWeightZero]
            .into_iter()
            .find(|reason| reason.is_written_in(recorded))
            .unwrap_or(TrafficReason::EndpointsNotReady);
        let message = recorded.message.to_string();
        return Traffic::Off { reason, message, recorded: true, warnings: Vec::new() };
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
    let settled = if endpoints.services.is_empty() && endpoints.entries.is_empty() {
        not_selected(pod, now)
    } else {
        settle(pod, endpoints, now)
    };
    match (settled, &endpoints.clb) {
        (Ok(settled), Some(clb)) => at_load_balancers(pod, clb, settled, now),
        (Ok(Settled { reason, evidence }), None) => {
            Traffic::Off { reason, message: evidence, recorded: false, warnings: Vec::new() }
        }
        (Err(settling), _) => settling,
    }
}

/// Endpoints have been off for long enough.
struct Settled {
    reason: TrafficReason,
    evidence: String,
}

/// Endpoints are off: whether load balancers are too.
fn at_load_balancers(
    pod: &PodFacts,
    facts: &ClbFacts,
    settled: Settled,
    now: Timestamp,
) -> Traffic {
    let said_from = said_from(pod, now);
    match clb::state(facts, pod, now) {
        clb::State::On(message) => Traffic::On {
            reason: TrafficReason::ClbWeightNotZero,
            message,
            say_at: said_from,
            look_at: nudge_at(pod, facts).filter(|at| now < *at),
        },
        clb::State::Confirming(message, since) => Traffic::On {
            reason: TrafficReason::ClbConfirming,
            message,
            say_at: Some(later(since, CONFIRMING_AFTER_SECONDS)).filter(|at| now < *at),
            look_at: None,
        },
        clb::State::Unknown(message, look_at) => Traffic::Unknown {
            reason: TrafficReason::ClbUnknown,
            message,
            say_at: said_from,
            look_at,
        },
        clb::State::Off(clb::Proof { read, remarks, warnings }) => {
            let reason = if read.is_some() { TrafficReason::ClbWeightZero } else { settled.reason };
            let parts: Vec<String> =
                read.into_iter().chain([settled.evidence]).chain(remarks).collect();
            Traffic::Off { reason, message: parts.join("; "), recorded: false, warnings }
        }
    }
}

/// Whether to remind TKE of the pod's weight now: once, where a load balancer reads on for long. The event
/// that follows.
pub(in crate::drain) fn nudge(
    pod: &PodFacts,
    endpoints: &EndpointFacts,
    traffic: &Traffic,
    now: Timestamp,
) -> Option<EventText> {
    let due = endpoints.clb.as_ref().and_then(|facts| nudge_at(pod, facts))?;
    let is_due = traffic.reason() == TrafficReason::ClbWeightNotZero && due <= now;
    is_due.then(|| {
        let note = format!(
            "{}, {} s after the deletion; TKE was reminded by {CUSTOM_WEIGHT_SERVICE}=0 on the pod",
            traffic.message(),
            pod.policy.traffic_off.nudge_seconds,
        );
        EventText::new(EventReason::WeightNudged, note)
    })
}

fn nudge_at(pod: &PodFacts, facts: &ClbFacts) -> Option<Timestamp> {
    let deletion = pod.deletion.as_ref().filter(|_| !facts.nudged)?;
    Some(later(deletion.requested_at, pod.policy.traffic_off.nudge_seconds))
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
            clock(until)
        ),
        say_at: said_from(pod, now),
        look_at: Some(later(now, TAKEOVER_LOOK_SECONDS).min(until)),
    })
}

/// Nobody lists the pod. Maybe a Service did until a moment ago, and what follows it has a lag: so it
/// settles too, from the deletion on.
fn not_selected(pod: &PodFacts, now: Timestamp) -> Result<Settled, Traffic> {
    let nobody = "no Service selects the pod and no EndpointSlice lists it";
    let since = pod.deletion.as_ref().map_or(now, |deletion| deletion.requested_at);
    let is_over = now >= later(since, pod.policy.traffic_off.settle_seconds);
    after_settling(pod, TrafficReason::NotSelected, nobody, since, is_over)
}

/// No entry takes traffic: off once that has been so for `settleSeconds`.
fn settle(pod: &PodFacts, endpoints: &EndpointFacts, now: Timestamp) -> Result<Settled, Traffic> {
    let settle_seconds = pod.policy.traffic_off.settle_seconds;
    let since = settling_since(pod, now);
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
        clock(since),
    );
    // Without a time to settle there is nothing to round up to.
    let is_over = settle_seconds == 0 || now >= later(since, settle_seconds);
    after_settling(pod, TrafficReason::EndpointsNotReady, &evidence, since, is_over)
}

/// Settled, or on the way there: the wait that both kinds of evidence get.
fn after_settling(
    pod: &PodFacts,
    reason: TrafficReason,
    evidence: &str,
    since: Timestamp,
    is_over: bool,
) -> Result<Settled, Traffic> {
    let settle_seconds = pod.policy.traffic_off.settle_seconds;
    if is_over {
        return Ok(Settled { reason, evidence: format!("{evidence}; settled {settle_seconds} s") });
    }
    let until = clock(later(since, settle_seconds));
    let message = format!("{evidence}; settles for {settle_seconds} s, until {until}");
    Err(Traffic::Settling { since, message })
}

/// Since when the endpoints are known to be off: as our own condition says, so that a new leader goes
/// on where the last one stopped. A condition about load balancers says that they had settled by then.
///
/// Clocks differ between leaders. A time in the future starts anew. A time before the deletion, which
/// the API server's clock gave, cannot be right and counts from the deletion. The rest is bounded by
/// how far two nodes' clocks are apart.
fn settling_since(pod: &PodFacts, now: Timestamp) -> Timestamp {
    // The API keeps whole seconds: rounded up, so that the wait is never shorter than asked for.
    let fresh = Timestamp::from_second(now.as_second() + i64::from(now.subsec_nanosecond() > 0))
        .unwrap_or(now);
    let settle = SignedDuration::from_secs(i64::from(pod.policy.traffic_off.settle_seconds));
    let began = |current: &Condition| {
        if TrafficReason::Settling.is_written_in(current) {
            return Some(current.since);
        }
        let is_clb = TrafficReason::CLB.iter().any(|reason| reason.is_written_in(current));
        is_clb.then(|| current.since.checked_sub(settle).unwrap_or(current.since))
    };
    let recorded = pod.traffic_off.as_ref().and_then(began).filter(|since| *since <= fresh);
    let Some(since) = recorded else { return fresh };
    match &pod.deletion {
        Some(deletion) if since < deletion.requested_at => deletion.requested_at,
        _ => since,
    }
}
