//! The planner: exactly one next step, or why there is none.
//!
//! ```text
//! facts -> is it ours at all? -> how far is each claim -> may it go on? -> what is next -> one step
//! ```
//! What is to be claimed goes into the status first; the step that needs it follows when the status is
//! stored. The same facts give the same plan, whoever asks.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::candidates::{self, Next};
use super::census::Outcome;
use super::claims::{Course, Look};
use super::conditions::conditions;
use super::facts::{Facts, NotOurs, Pod, Set, Upgrade};
use super::object::{Claim, Entry, Phase, Step as ClaimStep, UpgradeStatus, Withdrawn};
use super::reason::Reason;
use super::serving::Ground;
use super::surge::{self, Surge};
use super::weights::Change;
use super::zeros;
use crate::policy::Policy;
use crate::time::later;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes the annotations with weights of a Service, if it is still at this version.
    SetWeights {
        /// Its name.
        service: Box<str>,
        /// Its `resourceVersion`.
        version: Box<str>,
        /// How they are to be.
        change: Change,
    },
    /// Adds the container to a pod that counts its connections.
    Count {
        /// The pod.
        pod: Box<str>,
        /// Its UID.
        uid: Box<str>,
        /// Name of the container.
        name: Box<str>,
    },
    /// Writes or takes off the annotation `lameduck.dev/upgrade-deletes` of a pod, if it is still this one at
    /// this version.
    Mark {
        /// The pod.
        pod: Box<str>,
        /// Its UID.
        uid: Box<str>,
        /// Its `resourceVersion`.
        version: Box<str>,
        /// Whether it is to be there.
        on: bool,
    },
    /// Deletes a pod, if it is still this one at this version.
    Delete {
        /// The pod.
        pod: Box<str>,
        /// Its UID.
        uid: Box<str>,
        /// Its `resourceVersion`.
        version: Box<str>,
    },
    /// Sets the replicas of the StatefulSet, and what is remembered of them, if it is still at this version.
    Scale {
        /// `resourceVersion` of the StatefulSet.
        version: Box<str>,
        /// `spec.replicas`; None leaves them as they are.
        replicas: Option<u32>,
        /// The annotation `lameduck.dev/original-replicas`; None takes it off.
        original: Option<u32>,
    },
}

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
        && !matches!(status.phase, Phase::Complete | Phase::Aborted)
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

/// Weights and replicas as they were.
fn put_back(facts: &Facts, set: Option<&Set>) -> Option<Action> {
    unmark(facts, &BTreeSet::new())
        .or_else(|| set_weights(facts, &BTreeSet::new()))
        .or_else(|| set.and_then(surge::back))
}

/// Takes the mark off a pod that is not to be deleted: before its weight comes back, so that a deletion that
/// somebody decided earlier, and has not sent yet, meets another version of the pod.
fn unmark(facts: &Facts, deleting: &BTreeSet<u32>) -> Option<Action> {
    let mut alive = facts.pods.iter().filter(|pod| pod.deleted_until.is_none());
    let pod = alive.find(|pod| pod.marked && !deleting.contains(&pod.ordinal))?;
    Some(mark(pod, false))
}

fn mark(pod: &Pod, on: bool) -> Action {
    Action::Mark { pod: pod.name.clone(), uid: pod.uid.clone(), version: pod.version.clone(), on }
}

fn set_weights(facts: &Facts, ordinals: &BTreeSet<u32>) -> Option<Action> {
    let (service, change) = zeros::change(facts, ordinals)?;
    Some(Action::SetWeights {
        service: service.name.clone(),
        version: service.version.clone(),
        change,
    })
}

struct Planner<'a> {
    ground: Ground<'a>,
    policy: &'a Policy,
    now: Timestamp,
}

/// Why nothing more is taken out of service.
enum Halt {
    Aborted,
    Paused(&'static str),
    Stalled,
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
            (next, Surge::Wanted(action)) if one_more_helps(next) => scale = Some(action.clone()),
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

    /// The status of a revision that was not seen before.
    fn begin(&self, approved_before: u32, retries_seen: u32) -> UpgradeStatus {
        let Ground { set, .. } = self.ground;
        let has_it = |ordinal: &u32| {
            self.ground.pod(*ordinal).is_some_and(|pod| pod.revision == set.update_revision)
        };
        let updated = candidates::scope(self.ground).filter(has_it).count();
        let mut status = UpgradeStatus {
            target_revision: set.update_revision.to_string(),
            started_at: Some(self.now),
            last_progress_at: Some(self.now),
            approved_before,
            updated_before: u32::try_from(updated).unwrap_or(u32::MAX),
            retries_seen,
            message: format!("the revision {} was seen", set.update_revision),
            ..UpgradeStatus::default()
        };
        self.count(&mut status);
        status
    }

    /// Another template: what is out of service stays claimed, everything else begins anew.
    fn retarget(&self, before: &UpgradeStatus, approved: u32, retries: u32) -> UpgradeStatus {
        UpgradeStatus {
            ordinals: before.ordinals.clone(),
            history: before.history.clone(),
            conditions: before.conditions.clone(),
            ..self.begin(approved, retries)
        }
    }

    /// Brings every claim to where the cluster is.
    fn advance(&self, status: &mut UpgradeStatus) {
        let claimed = status.ordinals.iter().map(|claim| claim.ordinal).collect();
        let look = Look { ground: self.ground, policy: self.policy, claimed, now: self.now };
        let mut moved = false;
        let mut entries = Vec::new();
        status.ordinals.retain_mut(|claim| {
            let mut record = |step, message: &str| {
                entries.push(Entry {
                    at: self.now,
                    ordinal: claim.ordinal,
                    step,
                    message: message.to_owned(),
                });
            };
            match look.course(claim) {
                Course::At { step, message, uid } => {
                    let is_other = *claim.uid != *uid;
                    // Why it may go is what was stored first: later words of the same would hold it up.
                    let is_told = step == ClaimStep::Deleting && step == claim.step && !is_other;
                    if is_other || step > claim.furthest {
                        moved = true;
                        claim.furthest = step;
                        claim.uid = uid.into();
                    }
                    if step != claim.step {
                        record(Some(step), &claim.message);
                        claim.since = self.now;
                        if step == ClaimStep::Counting && claim.counter.is_none() {
                            let pod = self.ground.pod(claim.ordinal);
                            claim.counter = pod.map(|pod| pod.next_counter.to_string());
                        }
                        if step == ClaimStep::Deleting {
                            let pod = self.ground.pod(claim.ordinal);
                            let closed = |pod: &Pod| matches!(pod.count, Some(Outcome::Closed(_)));
                            claim.blind = claim.counter.is_some() && !pod.is_some_and(closed);
                        }
                        if step == ClaimStep::WeightZero {
                            // It takes connections again: what was counted says nothing of them.
                            claim.counter = None;
                        }
                        claim.step = step;
                    }
                    if !is_told {
                        claim.message = message;
                    }
                    true
                }
                Course::Back(message) => {
                    record(Some(ClaimStep::Returning), &message);
                    self.give_back(claim, message);
                    true
                }
                Course::Done(message) => {
                    record(None, &message);
                    moved = true;
                    false
                }
                Course::Over(message) => {
                    record(None, &message);
                    false
                }
            }
        });
        for entry in entries {
            status.record(entry);
        }
        if moved {
            self.moved(status);
        }
    }

    fn max(&self) -> usize {
        usize::try_from(self.policy.stateful_sets.upgrade.max_unavailable).unwrap_or(usize::MAX)
    }

    /// It stays claimed until its weight is back: nothing else is done with it before.
    fn give_back(&self, claim: &mut Claim, message: String) {
        claim.step = ClaimStep::Returning;
        claim.furthest = ClaimStep::Returning;
        claim.since = self.now;
        claim.message = message;
    }

    fn moved(&self, status: &mut UpgradeStatus) {
        status.last_progress_at = Some(self.now);
        status.withdrawn = None;
    }

    /// Whether nothing more is to be taken, and gives back what was claimed and not deleted then.
    fn halt(&self, status: &mut UpgradeStatus, paused: bool, is_aborted: bool) -> Option<Halt> {
        let Ground { set, .. } = self.ground;
        let halt = if is_aborted {
            Halt::Aborted
        } else if paused {
            Halt::Paused("spec.paused is true")
        } else if set.paused {
            Halt::Paused("the StatefulSet has the annotation lameduck.dev/paused")
        } else {
            if status.withdrawn.is_none() && !self.is_late(status) {
                return None;
            }
            Halt::Stalled
        };
        let is_given_back = |claim: &Claim| {
            let is_ended = matches!(halt, Halt::Aborted) && claim.furthest < ClaimStep::Returning;
            is_ended || claim.step.is_untouched()
        };
        let mut entries = Vec::new();
        for claim in status.ordinals.iter_mut().filter(|claim| is_given_back(claim)) {
            let Claim { ordinal, message, .. } = claim.clone();
            if matches!(halt, Halt::Stalled) && status.withdrawn.is_none() {
                status.withdrawn = Some(Withdrawn { ordinal, message: message.clone() });
            }
            let message = format!("{} is given back: {message}", claim.pod);
            let step = Some(ClaimStep::Returning);
            entries.push(Entry { at: self.now, ordinal, step, message: message.clone() });
            self.give_back(claim, message);
        }
        for entry in entries {
            status.record(entry);
        }
        // Past the deadline, what is not held up by anything of ours may still go on by itself.
        match halt {
            Halt::Stalled if status.withdrawn.is_none() && status.ordinals.is_empty() => None,
            halt => Some(halt),
        }
    }

    /// Whether nothing moved for too long.
    fn is_late(&self, status: &UpgradeStatus) -> bool {
        let deadline = self.policy.stateful_sets.upgrade.progress_deadline_seconds;
        if rests(status.phase) {
            return false;
        }
        let mut moved = status.last_progress_at.unwrap_or(self.now);
        // A drain has its own deadline, and so have a count and a soak.
        for pod in &self.ground.facts.pods {
            if let Some(until) = pod.deleted_until {
                moved = moved.max(until.min(self.now));
            }
        }
        let soak = self.policy.stateful_sets.upgrade.soak_seconds;
        let progress = moved;
        for claim in &status.ordinals {
            let until = match (claim.step, claim.furthest) {
                (ClaimStep::Counting, _) => later(claim.since, self.policy.hold.max_seconds),
                // From the last progress, not from the step: a pod that gets ready and unready again and again
                // makes none.
                (_, ClaimStep::Soaking) => {
                    later(progress, soak.max(self.ground.set.min_ready_seconds))
                }
                _ => continue,
            };
            moved = moved.max(until.min(self.now));
        }
        self.now.duration_since(moved) > SignedDuration::from_secs(i64::from(deadline))
    }

    fn count(&self, status: &mut UpgradeStatus) {
        let Ground { set, .. } = self.ground;
        let serves = |ordinal: &u32| {
            let pod = self.ground.pod(*ordinal);
            pod.is_some_and(|pod| pod.revision == set.update_revision)
                && status.claim(*ordinal).is_none()
                && self.ground.idle(*ordinal).is_none()
        };
        let total = candidates::scope(self.ground).count();
        let updated = candidates::scope(self.ground).filter(serves).count();
        status.total = u32::try_from(total).unwrap_or(u32::MAX);
        status.updated = u32::try_from(updated).unwrap_or(u32::MAX);
    }

    /// Phase, reason and message.
    fn say(
        &self,
        status: &mut UpgradeStatus,
        halt: Option<Halt>,
        next: &Next,
        surge: &Surge,
        is_left: bool,
    ) {
        let on_its_way = status.ordinals.first().map(|claim| claim.message.clone());
        let (phase, reason, message) = match (halt, next, surge) {
            (Some(Halt::Aborted), ..) => (
                Phase::Aborted,
                Reason::Aborted,
                format!("spec.abortRevision is {}", status.target_revision),
            ),
            (Some(Halt::Paused(why)), ..) => {
                let rest = on_its_way.map(|what| format!("; {what}")).unwrap_or_default();
                (Phase::Paused, Reason::Paused, format!("{why}{rest}"))
            }
            (Some(Halt::Stalled), ..) => {
                let deadline = self.policy.stateful_sets.upgrade.progress_deadline_seconds;
                let what = status.withdrawn.as_ref().map(|one| one.message.clone());
                let what = on_its_way.or(what).unwrap_or_default();
                (
                    Phase::Stalled,
                    Reason::ProgressDeadlineExceeded,
                    format!(
                        "nothing moved for {deadline} s: {what}. Apply another template, or raise \
                         spec.retries to try again"
                    ),
                )
            }
            (None, Next::Blocked(Reason::ApprovalNeeded, why), _) if on_its_way.is_none() => {
                (Phase::WaitingForApproval, Reason::ApprovalNeeded, why.clone())
            }
            (None, next, Surge::Wanted(_)) if one_more_helps(next) => {
                let message = "one pod is added for the upgrade".to_owned();
                (self.waiting(status), Reason::Surging, message)
            }
            (None, Next::Blocked(reason, why), _) if on_its_way.is_none() => {
                (self.waiting(status), *reason, why.clone())
            }
            (None, ..) if is_left => {
                (Phase::Progressing, Reason::Replacing, on_its_way.unwrap_or_default())
            }
            (None, ..) => self.last_part(status, surge),
        };
        if rests(status.phase) && !rests(phase) {
            // What had nothing to do, or waited for a person, did not fail to move.
            status.last_progress_at = Some(self.now);
        }
        let is_complete = phase == Phase::Complete;
        status.completed_at =
            if is_complete { status.completed_at.or(Some(self.now)) } else { None };
        status.phase = phase;
        status.reason = reason.as_str().to_owned();
        status.message = message;
        status.conditions = conditions(status, self.now);
    }

    /// Past the deadline, waiting is being stalled. It goes on by itself where what it waits for comes.
    fn waiting(&self, status: &UpgradeStatus) -> Phase {
        if self.is_late(status) { Phase::Stalled } else { Phase::Progressing }
    }

    /// Every pod has the revision: what is left to do.
    fn last_part(&self, status: &UpgradeStatus, surge: &Surge) -> (Phase, Reason, String) {
        let Ground { facts, set } = self.ground;
        if let Surge::There(_) = surge {
            let message = "the pod that was added for the upgrade is taken away".to_owned();
            return (Phase::Progressing, Reason::Surging, message);
        }
        let beyond = |pod: &&Pod| !set.has(pod.ordinal);
        if let Some(pod) = facts.pods.iter().find(beyond) {
            let message = format!("{} is ending", pod.name);
            return (Phase::Progressing, Reason::Surging, message);
        }
        if facts.services.iter().any(|service| zeros::has_ours(service, &facts.name)) {
            let message = "weights are put back".to_owned();
            return (Phase::Progressing, Reason::Replacing, message);
        }
        let idle = candidates::scope(self.ground).find_map(|ordinal| self.ground.idle(ordinal));
        if let Some(why) = idle {
            return (self.waiting(status), Reason::PodsNotServing, why);
        }
        let mut message = format!(
            "{} have the revision {}",
            super::text::pods(status.total),
            set.update_revision
        );
        if set.partition > 0 {
            message.push_str(&format!(
                "; ordinals below {} keep theirs, as the author's partition says",
                set.first_updated()
            ));
        }
        (Phase::Complete, Reason::Complete, message)
    }

    /// Marks a claimed pod that may go, and deletes it.
    fn delete(&self, status: &UpgradeStatus) -> Option<Action> {
        // A zero that came late, or that the load balancer still has, counts too.
        if candidates::out(self.ground, status) > self.max() {
            return None;
        }
        let claims = status.ordinals.iter().filter(|claim| claim.step == ClaimStep::Deleting);
        let mut pods = claims.filter_map(|claim| {
            self.ground.pod(claim.ordinal).filter(|pod| *pod.uid == *claim.uid)
        });
        pods.next().map(|pod| match pod.marked {
            false => mark(pod, true),
            true => Action::Delete {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                version: pod.version.clone(),
            },
        })
    }

    /// Counts the connections of a claimed pod that nothing counts yet.
    fn start_count(&self, status: &UpgradeStatus) -> Option<Action> {
        let claims = status.ordinals.iter().filter(|claim| claim.step == ClaimStep::Counting);
        let mut uncounted = claims.filter_map(|claim| {
            let pod = self.ground.pod(claim.ordinal).filter(|pod| *pod.uid == *claim.uid)?;
            pod.count.is_none().then_some((pod, claim.counter.as_deref()?))
        });
        let (pod, name) = uncounted.next()?;
        Some(Action::Count { pod: pod.name.clone(), uid: pod.uid.clone(), name: name.into() })
    }
}

/// Ordinals whose pods are about to be deleted.
fn deleting(status: &UpgradeStatus) -> BTreeSet<u32> {
    let claims = status.ordinals.iter().filter(|claim| claim.step == ClaimStep::Deleting);
    claims.map(|claim| claim.ordinal).collect()
}

/// Whether nothing is to move in a phase.
fn rests(phase: Phase) -> bool {
    matches!(phase, Phase::Paused | Phase::WaitingForApproval | Phase::Aborted | Phase::Complete)
}

/// Whether one pod more would let a pod go.
fn one_more_helps(next: &Next) -> bool {
    matches!(
        next,
        Next::Serving(_) | Next::Blocked(Reason::LastBackend | Reason::BudgetExhausted, _)
    )
}

fn is_observed(set: &Set) -> bool {
    let (generation, observed) = set.generation;
    observed >= generation && !set.update_revision.is_empty()
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
