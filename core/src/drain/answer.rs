//! What a hold hears when it asks. Every replica answers from the pod alone.

use jiff::Timestamp;

use super::facts::{ConditionStatus, Deletion, NodeState, PodFacts};
use crate::inject::MARGIN_SECONDS;
use crate::time::later;

/// State of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldState {
    /// The pod is not being deleted: a container is restarted. There is nothing to wait for.
    NotTerminating,
    /// Nobody can tell whether the pod ends: it is not being deleted, but its kubelet may be ending it by
    /// itself. Not on the wire: it is answered as if no controller were there, and the hold decides alone.
    Alone,
    /// Hold: new traffic may still come.
    Holding,
    /// No new traffic comes: wait for what is there, then exit.
    TrafficOff,
    /// A person let the pod go: exit, whatever is there.
    Released,
}

impl HoldState {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotTerminating => "NotTerminating",
            Self::Alone => "Alone",
            Self::Holding => "Holding",
            Self::TrafficOff => "TrafficOff",
            Self::Released => "Released",
        }
    }
}

/// Reason of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerReason {
    /// The pod is not being deleted.
    NotTerminating,
    /// The kubelet may be ending the pod by itself.
    MaybeEvicted,
    /// A person let the pod go.
    Released,
    /// Nobody has said anything about the pod's traffic yet.
    Pending,
    /// The reason of the pod's `TrafficOff` condition.
    Condition(Box<str>),
}

impl AnswerReason {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotTerminating => "NotTerminating",
            Self::MaybeEvicted => "MaybeEvicted",
            Self::Released => "Released",
            Self::Pending => "Pending",
            Self::Condition(reason) => reason,
        }
    }
}

/// An answer to a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What to do.
    pub state: HoldState,
    /// Why.
    pub reason: AnswerReason,
    /// The evidence, for a person.
    pub message: Box<str>,
    /// Seconds until the hold must be over; 0 where it is. None where the pod is not terminating, and
    /// where nobody knows.
    pub deadline_seconds: Option<u32>,
}

/// When the hold must be over.
///
/// At most `hold.maxSeconds` after the deletion, and early enough that the application has the grace
/// that its author gave it. Where somebody asked for a grace that is too short for both, each side
/// gets half: without any hold the application would lose requests, without any grace it would lose
/// its shutdown.
#[must_use]
pub fn hold_deadline(
    deletion: &Deletion,
    original_grace_seconds: u32,
    max_seconds: u32,
) -> Timestamp {
    let reserve = original_grace_seconds.saturating_add(MARGIN_SECONDS);
    let fits = deletion.grace_seconds.saturating_sub(reserve);
    let hold_seconds = fits.max(deletion.grace_seconds / 2).min(max_seconds);
    later(deletion.requested_at, hold_seconds)
}

/// Whether a preStop that runs without a deletion may be an eviction, or a shutdown of the node, and not
/// the restart of a container. The kubelet tells of its own ends only when they are over
/// (`mergePodStatus` in `pkg/kubelet/status/status_manager.go`), but of its node's state first: not ready
/// before it shuts down, the pressure before it evicts. A restart that is meant then waits for as long as
/// the container's own grace.
const fn maybe_evicted(pod: &PodFacts) -> bool {
    pod.node_under_pressure || matches!(pod.node, NodeState::NotReady | NodeState::Gone)
}

/// Answers a hold of the pod.
#[must_use]
pub fn answer(pod: &PodFacts, now: Timestamp) -> Answer {
    let Some(deletion) = &pod.deletion else {
        if maybe_evicted(pod) {
            return Answer {
                state: HoldState::Alone,
                reason: AnswerReason::MaybeEvicted,
                message: "the pod's node shuts down, does not answer or is under pressure: its kubelet may \
                          be ending the pod"
                    .into(),
                deadline_seconds: None,
            };
        }
        return Answer {
            state: HoldState::NotTerminating,
            reason: AnswerReason::NotTerminating,
            message: "the pod is not being deleted".into(),
            deadline_seconds: None,
        };
    };
    if let Some(release) = &pod.release {
        return Answer {
            state: HoldState::Released,
            reason: AnswerReason::Released,
            message: release.words().into(),
            deadline_seconds: Some(0),
        };
    }
    let deadline = hold_deadline(deletion, pod.original_grace_seconds, pod.policy.hold.max_seconds);
    let left_seconds = deadline.duration_since(now).as_secs().max(0);
    // A forced delete whose first request was not seen: if it was the first, the kubelet kills at once
    // and no hold is there to ask; so there was another before it, whose grace still runs.
    let deadline_seconds =
        (deletion.grace_seconds > 0).then(|| u32::try_from(left_seconds).unwrap_or(u32::MAX));
    let (state, reason, message) = match &pod.traffic_off {
        None => (
            HoldState::Holding,
            AnswerReason::Pending,
            "the pod is being deleted; its endpoints are being looked at".into(),
        ),
        Some(condition) => (
            if condition.status == ConditionStatus::True {
                HoldState::TrafficOff
            } else {
                HoldState::Holding
            },
            AnswerReason::Condition(condition.reason.clone()),
            condition.message.clone(),
        ),
    };
    Answer { state, reason, message, deadline_seconds }
}
