//! Whether a pod's object may go: the finalizer.
//!
//! It goes when nothing of the pod runs *and* its traffic is off. It never stays for ever: see
//! [`give_up_at`]; and a person may let it go. Taking it off early would shorten nothing that the kubelet does.

use jiff::Timestamp;

use super::facts::{Containers, Deletion, NodeState, PodFacts};
use super::reason::{EventReason, EventText};
use super::release::Release;
use super::traffic::Traffic;
use crate::time::later;

/// Seconds after the kubelet's own kill before a container that is said to run is not believed any more.
/// The kubelet retries its final delete every 10 s; six of those.
const KILL_REPORT_SECONDS: u32 = 60;

/// Why the finalizer stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeepReason {
    /// The pod is not being deleted.
    NotTerminating,
    /// There is none to take off.
    NoFinalizer,
    /// A container runs.
    ContainersRunning,
    /// Nothing runs, and traffic is not proven off.
    TrafficNotOff,
}

/// Why the finalizer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemoveReason {
    /// Every container has ended, and traffic is off.
    Ended,
    /// No container ever ran, and traffic is off.
    NeverStarted,
    /// The pod was forced away, or its node is gone, and traffic is off.
    NodeLost,
    /// The time is over.
    GaveUp,
    /// A person let the pod go.
    LetGo,
}

impl RemoveReason {
    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "Ended",
            Self::NeverStarted => "NeverStarted",
            Self::NodeLost => "NodeLost",
            Self::GaveUp => "GaveUp",
            Self::LetGo => "LetGo",
        }
    }
}

/// What to do with the finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finalizer {
    /// Leave it.
    Keep(KeepReason),
    /// Take it off.
    Remove(RemoveReason),
}

impl Finalizer {
    /// The event that goes with taking it off.
    pub(super) fn event(self, pod: &PodFacts, traffic: &Traffic) -> Option<EventText> {
        let Self::Remove(reason) = self else { return None };
        let note = match reason {
            RemoveReason::Ended => {
                format!("every container has ended and traffic is off: {}", traffic.message())
            }
            RemoveReason::NeverStarted => {
                format!("no container ever ran and traffic is off: {}", traffic.message())
            }
            RemoveReason::NodeLost => format!(
                "the pod's node does not answer for it and traffic is off: {}",
                traffic.message()
            ),
            RemoveReason::LetGo => {
                let words = pod.release.as_ref().map(Release::words).unwrap_or_default();
                let traffic = traffic.message();
                return Some(EventText::new(
                    EventReason::LetGo,
                    format!(
                        "{words}. Nothing is waited for any more; of its traffic was known: {traffic}"
                    ),
                ));
            }
            RemoveReason::GaveUp => {
                let waited = pod.policy.traffic_off.give_up_seconds;
                return Some(EventText::new(
                    EventReason::GaveUp,
                    format!(
                        "the object is let go although {}; trafficOff.giveUpSeconds ({waited} s) is over",
                        if traffic.is_off() {
                            "containers are still said to run".to_owned()
                        } else {
                            format!("traffic is not proven off: {}", traffic.message())
                        }
                    ),
                ));
            }
        };
        Some(EventText::new(EventReason::Released, note))
    }
}

/// Why nothing of the pod counts as running, or None where something does.
fn stopped(pod: &PodFacts, deletion: &Deletion) -> Option<RemoveReason> {
    match (pod.containers, pod.node) {
        (Containers::Ended, _) => Some(RemoveReason::Ended),
        (Containers::NeverStarted, _) | (_, NodeState::Unscheduled) => {
            Some(RemoveReason::NeverStarted)
        }
        (Containers::Running, NodeState::Gone) => Some(RemoveReason::NodeLost),
        (Containers::Running, NodeState::NotReady) if deletion.forced => {
            Some(RemoveReason::NodeLost)
        }
        (Containers::Running, _) => None,
    }
}

/// When the finalizer goes whatever the traffic does.
///
/// `giveUpSeconds` after the deletion. Where a container runs on a node that answers, the kubelet is
/// still at work and the object would stay in any case: then not before its own kill is over, so that
/// a long hold keeps its record.
fn give_up_at(pod: &PodFacts, deletion: &Deletion) -> Timestamp {
    let asked = later(deletion.requested_at, pod.policy.traffic_off.give_up_seconds);
    let at_work = stopped(pod, deletion).is_none()
        && matches!(pod.node, NodeState::Ready | NodeState::Unknown);
    if at_work { asked.max(later(deletion.killed_at(), KILL_REPORT_SECONDS)) } else { asked }
}

pub(super) fn decide(
    pod: &PodFacts,
    deletion: &Deletion,
    traffic: &Traffic,
    now: Timestamp,
) -> Finalizer {
    if !pod.has_finalizer {
        return Finalizer::Keep(KeepReason::NoFinalizer);
    }
    if pod.release.is_some() {
        return Finalizer::Remove(RemoveReason::LetGo);
    }
    let stopped = stopped(pod, deletion);
    // What settles is off in a moment, or on again: a leader that comes late looks before it gives up.
    let is_settling = stopped.is_some() && matches!(traffic, Traffic::Settling { .. });
    match stopped {
        Some(reason) if traffic.is_off() => Finalizer::Remove(reason),
        _ if now >= give_up_at(pod, deletion) && !is_settling => {
            Finalizer::Remove(RemoveReason::GaveUp)
        }
        Some(_) => Finalizer::Keep(KeepReason::TrafficNotOff),
        None => Finalizer::Keep(KeepReason::ContainersRunning),
    }
}

/// When time alone changes the decision.
pub(super) fn due(pod: &PodFacts, deletion: &Deletion, finalizer: &Finalizer) -> Option<Timestamp> {
    match finalizer {
        Finalizer::Keep(KeepReason::ContainersRunning | KeepReason::TrafficNotOff) => {
            Some(give_up_at(pod, deletion))
        }
        _ => None,
    }
}
