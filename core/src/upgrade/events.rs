//! Events on the StatefulSet: what is new in a status.

use super::object::{Phase, Step, UpgradeStatus};
use crate::drain::{EventReason, EventText};

/// What happened between two statuses that were stored one after the other. Once per transition.
#[must_use]
pub fn events(before: &UpgradeStatus, now: &UpgradeStatus) -> Vec<EventText> {
    let mut events = Vec::new();
    let mut say = |reason, note: String| events.push(EventText::new(reason, note));
    if before.target_revision != now.target_revision && now.phase != Phase::Complete {
        let note = format!(
            "{} pods are carried to the revision {}, one after the other",
            now.total, now.target_revision
        );
        say(EventReason::UpgradeStarted, note);
    }
    if now.surge_given_up && !before.surge_given_up {
        let note = now.history.last().map(|entry| entry.message.clone()).unwrap_or_default();
        say(EventReason::ReplicasChanged, note);
    }
    for claim in &now.ordinals {
        let old = before.claim(claim.ordinal);
        let stepped = old.is_none_or(|old| old.step != claim.step);
        let gets_back = claim.step == Step::Returning;
        if gets_back && now.withdrawn.is_some() && old.is_some_and(|old| old.step.is_untouched()) {
            say(EventReason::OrdinalWithdrawn, claim.message.clone());
        }
        if old.is_none() && !gets_back {
            say(EventReason::OrdinalTaken, format!("{} is taken out of service", claim.pod));
        }
        if stepped && claim.step == Step::Deleting {
            // Why it may go stands in the message: the proof, or that there was none.
            let note = format!("{} is going to be deleted: {}", claim.pod, claim.message);
            let reason = match claim.blind {
                true => EventReason::OrdinalDeletedBlind,
                false => EventReason::OrdinalDeleted,
            };
            say(reason, note);
        }
    }
    for old in &before.ordinals {
        if now.claim(old.ordinal).is_none() {
            let entries = now.history.iter().rev();
            let entry = entries.into_iter().find(|entry| entry.ordinal == old.ordinal);
            let message = entry.map(|entry| entry.message.clone()).unwrap_or_default();
            say(EventReason::OrdinalBack, message);
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
            say(reason, now.message.clone());
        }
    }
    events
}
