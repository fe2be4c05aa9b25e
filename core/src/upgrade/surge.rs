//! One pod more for as long as an upgrade lasts, so that as many serve as before.
//!
//! What the replicas were stands on the StatefulSet itself, in the same write as what they are: whoever
//! else changes them is seen, and wins.

use jiff::Timestamp;

use super::actions::Action;
use super::facts::Set;
use super::object::{Entry, UpgradeStatus};
use super::serving::Ground;
use crate::policy::{Policy, Surge as Wish};

/// How often the replicas may be set back to what they were until the added pod is given up.
const TAKEN_BACK_MAX: u32 = 3;

/// Where the pod stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Surge {
    /// There is to be none.
    None,
    /// There is to be one. How it is added.
    Wanted(Action),
    /// There is one. How it is taken away.
    There(Action),
    /// Somebody else changed the replicas: theirs stay. How that is forgotten.
    Foreign(Action),
}

/// Where it stands, and takes down that somebody else changed the replicas.
pub(super) fn state(
    ground: Ground<'_>,
    policy: &Policy,
    status: &mut UpgradeStatus,
    at: Timestamp,
) -> Surge {
    let set = ground.set;
    if let Some(original) = set.original_replicas {
        if let Some(back) = back(set).filter(|_| is_ours(set, original)) {
            return Surge::There(back);
        }
        // Who applies a manifest again writes its replicas too, and wants no other number. Who does so again and
        // again wants this one.
        let (generation, _) = set.generation;
        let is_counted = status.surge_taken_back_in == Some(generation);
        if set.replicas == original && (is_counted || status.surges_taken_back < TAKEN_BACK_MAX) {
            status.surges_taken_back += u32::from(!is_counted);
            status.surge_taken_back_in = Some(generation);
        } else if !status.surge_given_up {
            status.surge_given_up = true;
            status.record(Entry {
                at,
                ordinal: set.start.saturating_add(original),
                step: None,
                message: format!(
                    "somebody else set replicas to {}, where {original} and one for the upgrade were: \
                     theirs stay",
                    set.replicas
                ),
            });
        }
        return Surge::Foreign(forget(set));
    }
    if !is_wished(ground, policy) || status.surge_given_up || set.replicas == 0 {
        return Surge::None;
    }
    Surge::Wanted(Action::Scale {
        version: set.version.clone(),
        replicas: Some(set.replicas.saturating_add(1)),
        original: Some(set.replicas),
    })
}

/// Whether the policy wants one pod more.
pub(super) fn is_wished(ground: Ground<'_>, policy: &Policy) -> bool {
    match policy.stateful_sets.upgrade.surge {
        Wish::None => false,
        Wish::One => true,
        Wish::Auto => !ground.set.has_claims,
    }
}

/// The replicas as they were; None where we changed none. Where somebody else changed them since, theirs
/// stay.
pub(super) fn back(set: &Set) -> Option<Action> {
    let original = set.original_replicas?;
    if !is_ours(set, original) {
        return Some(forget(set));
    }
    Some(Action::Scale { version: set.version.clone(), replicas: Some(original), original: None })
}

fn is_ours(set: &Set, original: u32) -> bool {
    set.replicas == original.saturating_add(1)
}

fn forget(set: &Set) -> Action {
    Action::Scale { version: set.version.clone(), replicas: None, original: None }
}
