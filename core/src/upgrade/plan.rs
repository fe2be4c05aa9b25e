//! The planner: exactly one next step, or why there is none.
//!
//! ```text
//! facts -> is it ours at all? -> how far is each claim -> may it go on? -> what is next -> one step
//! ```
//! What is to be claimed goes into the status first; the step that needs it follows when the status is
//! stored. The same facts give the same plan, whoever asks.

use jiff::Timestamp;

use super::actions::{Action, deleting, put_back, set_weights, unmark};
use super::candidates::{self, Next};
use super::conditions::conditions;
use super::facts::{Facts, NotOurs, Set, Upgrade};
use super::object::{Entry, Phase, UpgradeStatus};
use super::reason::Reason;
use super::serving::Ground;
use super::surge::{self, Surge};
use super::zeros;
use crate::policy::Policy;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The status as it is to be; None where there is to be no `Upgrade`. It is stored before the action is
    /// taken, and only if it is different.
    pub status: Option<UpgradeStatus>,
    /// The one next step. It may be taken only where the stored status is this one already.
    pub action: Option<Action>,
    /// Something is under way that no watch tells: look again soon.
    pub active: bool,
}

/// Plans. `now` is in whole seconds in everything that is stored.
#[must_use]
pub fn plan(facts: &Facts, now: Timestamp) -> Plan {
    let stored = facts.upgrade.as_ref().map(|upgrade| &upgrade.status);
    let mut plan = match (&facts.set, &facts.policy) {
        (Some(set), Ok(policy)) => {
            let ground = Ground { facts, set };
            Planner { ground, policy, now: whole_seconds(now) }.plan()
        }
        (set, policy) => end(facts, set.as_ref(), policy.as_ref().err().copied(), now),
    };
    // First what is claimed, then what is done.
    if plan.status.as_ref() != stored && plan.status.is_some() {
        plan.action = None;
        plan.active = true;
    }
    plan
}

/// Puts everything back.
fn end(facts: &Facts, set: Option<&Set>, why: Option<NotOurs>, now: Timestamp) -> Plan {
    let mut status = facts.upgrade.as_ref().map(|upgrade| upgrade.status.clone());
    if let Some(status) = &mut status
        && !status.phase.is_over()
    {
        let why = match why {
            Some(NotOurs::AuthorsStrategy) => "its update strategy is its author's own",
            Some(NotOurs::Gone) | None => "it is gone",
            Some(NotOurs::NotEnrolled) => "it is not enrolled any more",
        };
        status.phase = Phase::Aborted;
        status.reason = Reason::NotEnrolled.as_str().to_owned();
        status.message = format!("Lameduck does not upgrade {}: {why}", facts.name);
        status.ordinals.clear();
        status.conditions = conditions(status, whole_seconds(now));
    }
    let action = put_back(facts, set);
    Plan { status, active: action.is_some(), action }
}

pub(super) struct Planner<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
}

impl Planner<'_> {
    fn plan(&self) -> Plan {
        let Ground { facts, set } = self.ground;
        let nothing = |status| Plan { status, action: None, active: false };
        let Some(Upgrade { spec, status: stored }) = &facts.upgrade else {
            let is_needed = is_observed(set) && candidates::outdated(self.ground).next().is_some();
            // A set whose revision is everywhere needs no object; weights of ours without one are a rest.
            let Some(action) = put_back(facts, Some(set)) else {
                return nothing(is_needed.then(|| self.begin(0, 0)));
            };
            return Plan { status: None, action: Some(action), active: true };
        };
        if !is_observed(set) {
            // Which revision is meant is not known yet. A watch tells when it is.
            return nothing(Some(stored.clone()));
        }
        let mut status = stored.clone();
        if *status.target_revision != *set.update_revision {
            status = self.retarget(&status, spec.approved_batches, spec.retries);
        }
        status.approvals_seen = spec.approved_batches;
        if status.retries_seen != spec.retries {
            status.retries_seen = spec.retries;
            status.withdrawn = None;
            status.surge_given_up = false;
            status.surges_taken_back = 0;
            status.last_progress_at = Some(self.now);
        }
        let is_aborted = spec.abort_revision.as_deref() == Some(&*set.update_revision);
        let is_done = matches!(status.phase, Phase::Complete)
            && candidates::outdated(self.ground).next().is_none()
            && status.ordinals.is_empty()
            && candidates::leftovers(self.ground, &status, self.now).is_empty();
        if is_done {
            let action = put_back(facts, Some(set));
            return Plan { status: Some(status), active: action.is_some(), action };
        }
        self.advance(&mut status);
        let left = candidates::leftovers(self.ground, &status, self.now);
        status.ordinals.extend(left);
        status.ordinals.sort_by_key(|claim| std::cmp::Reverse(claim.ordinal));
        // Where fewer may be out than before, the last that were taken go back.
        let untouched = status.ordinals.iter_mut().filter(|claim| claim.step.is_untouched());
        for claim in untouched.skip(self.max()) {
            self.give_back(claim, format!("{} is given back: maxUnavailable", claim.pod));
        }
        let halt = self.halt(&mut status, spec.paused, is_aborted);
        let surge = surge::state(self.ground, self.policy, &mut status, self.now);
        let next = match &halt {
            Some(_) => Next::None,
            None => {
                candidates::next(self.ground, &self.policy.stateful_sets.upgrade, spec, &status)
            }
        };
        let mut scale = None;
        let mut take = None;
        match (&next, &surge) {
            (_, Surge::Foreign(action)) => scale = Some(action.clone()),
            (Next::Idle(ordinal), _) => take = Some(*ordinal),
            // One more first, so that as many serve as before.
            (next, Surge::Wanted(action)) if next.wants_one_more() => scale = Some(action.clone()),
            (Next::Serving(ordinal), _) => take = Some(*ordinal),
            _ => {}
        }
        if let Some(claim) =
            take.and_then(|ordinal| candidates::claim(self.ground, ordinal, self.now))
        {
            status.record(Entry {
                at: self.now,
                ordinal: claim.ordinal,
                step: Some(claim.step),
                message: claim.message.clone(),
            });
            status.ordinals.retain(|before| before.ordinal != claim.ordinal);
            status.ordinals.push(claim);
            status.ordinals.sort_by_key(|claim| std::cmp::Reverse(claim.ordinal));
            self.moved(&mut status);
        }
        let is_left = !status.ordinals.is_empty() || candidates::is_left(self.ground);
        let is_surplus = is_aborted || !is_left || !surge::is_wished(self.ground, self.policy);
        if is_surplus && let Surge::There(action) = &surge {
            scale = scale.or_else(|| Some(action.clone()));
        }
        self.count(&mut status);
        self.say(&mut status, halt, &next, &surge, is_left);
        // The Service before the pod, also for a pod that serves nobody: what was decided about either before
        // the claim, and comes late, is refused from here on.
        let action = unmark(facts, &deleting(&status))
            .or_else(|| set_weights(facts, &zeros::wanted(&status)))
            .or_else(|| self.delete(&status))
            .or_else(|| self.start_count(&status))
            .or(scale);
        let active =
            action.is_some() || matches!(status.phase, Phase::Pending | Phase::Progressing);
        Plan { status: Some(status), action, active }
    }
}

fn is_observed(set: &Set) -> bool {
    let (generation, observed) = set.generation;
    observed >= generation && !set.update_revision.is_empty()
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
