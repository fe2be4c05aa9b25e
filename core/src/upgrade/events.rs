//! Events on the StatefulSet: what is new in a status.

use super::object::{Phase, Step, UpgradeStatus};
use crate::drain::{EventReason, EventText};

/// An event on the StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub text: EventText,
    /// The pod that it is about: events of one reason about several pods are several.
    pub pod: Option<String>,
}

/// What happened between two statuses that were stored one after the other. Once per transition.
#[must_use]
pub fn events(before: &UpgradeStatus, now: &UpgradeStatus) -> Vec<Told> {
    let mut events = Vec::new();
    let mut tell = |reason, note: String, pod: Option<&str>| {
        events.push(Told { text: EventText::new(reason, note), pod: pod.map(str::to_owned) });
    };
    if before.target_revision != now.target_revision && now.phase != Phase::Complete {
        let note = format!(
            "{} pods are carried to the revision {}, one after the other",
            now.total, now.target_revision
        );
        tell(EventReason::UpgradeStarted, note, None);
    }
    if now.surge_given_up && !before.surge_given_up {
        let note = now.history.last().map(|entry| entry.message.clone()).unwrap_or_default();
        tell(EventReason::ReplicasChanged, note, None);
    }
    for claim in &now.ordinals {
        let old = before.claim(claim.ordinal);
        let stepped = old.is_none_or(|old| old.step != claim.step);
        let gets_back = claim.step == Step::Returning;
        if gets_back && now.withdrawn.is_some() && old.is_some_and(|old| old.step.is_untouched()) {
            tell(EventReason::OrdinalWithdrawn, claim.message.clone(), Some(&claim.pod));
        }
        if old.is_none() && !gets_back {
            let note = format!("{} is taken out of service", claim.pod);
            tell(EventReason::OrdinalTaken, note, Some(&claim.pod));
        }
        if stepped && claim.step == Step::Deleting {
            // Why it may go stands in the message: the proof, or that there was none.
            let note = format!("{} is going to be deleted: {}", claim.pod, claim.message);
            let reason = match claim.blind {
                true => EventReason::OrdinalDeletedBlind,
                false => EventReason::OrdinalDeleted,
            };
            tell(reason, note, Some(&claim.pod));
        }
    }
    for old in &before.ordinals {
        if now.claim(old.ordinal).is_none() {
            let entries = now.history.iter().rev();
            let entry = entries.into_iter().find(|entry| entry.ordinal == old.ordinal);
            let message = entry.map(|entry| entry.message.clone()).unwrap_or_default();
            tell(EventReason::OrdinalBack, message, Some(&old.pod));
        }
    }
    if before.phase != now.phase {
        let reason = match now.phase {
            Phase::Stalled => Some(EventReason::UpgradeStalled),
            Phase::Paused => Some(EventReason::UpgradePaused),
            Phase::WaitingForApproval => Some(EventReason::ApprovalNeeded),
            Phase::Aborted => Some(EventReason::UpgradeAborted),
            Phase::Complete => Some(EventReason::UpgradeComplete),
            Phase::Pending | Phase::Progressing => None,
        };
        if let Some(reason) = reason {
            tell(reason, now.message.clone(), None);
        }
    }
    events
}
