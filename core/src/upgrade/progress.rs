//! How far an upgrade is: claims are brought to where the cluster is, and what takes too long is given back.

use jiff::SignedDuration;

use super::candidates;
use super::census::Outcome;
use super::claims::{Course, Look};
use super::facts::Pod;
use super::object::{Claim, Entry, Phase, Step, UpgradeStatus, Withdrawn};
use super::plan::Planner;
use super::serving::Ground;
use crate::time::later;

/// Why nothing more is taken out of service.
pub(super) enum Halt {
    Aborted,
    Paused(&'static str),
    Stalled,
}

impl Planner<'_> {
    /// The status of a revision that was not seen before.
    pub(super) fn begin(&self, approved_before: u32, retries_seen: u32) -> UpgradeStatus {
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
    pub(super) fn retarget(
        &self,
        before: &UpgradeStatus,
        approved: u32,
        retries: u32,
    ) -> UpgradeStatus {
        UpgradeStatus {
            ordinals: before.ordinals.clone(),
            history: before.history.clone(),
            conditions: before.conditions.clone(),
            ..self.begin(approved, retries)
        }
    }

    /// Brings every claim to where the cluster is.
    pub(super) fn advance(&self, status: &mut UpgradeStatus) {
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
                    let is_told = step == Step::Deleting && step == claim.step && !is_other;
                    if is_other || step > claim.furthest {
                        moved = true;
                        claim.furthest = step;
                        claim.uid = uid.into();
                    }
                    if step != claim.step {
                        record(Some(step), &claim.message);
                        claim.since = self.now;
                        if step == Step::Counting && claim.counter.is_none() {
                            let pod = self.ground.pod(claim.ordinal);
                            claim.counter = pod.map(|pod| pod.next_counter.to_string());
                        }
                        if step == Step::Deleting {
                            let pod = self.ground.pod(claim.ordinal);
                            let closed = |pod: &Pod| matches!(pod.count, Some(Outcome::Closed(_)));
                            claim.blind = claim.counter.is_some() && !pod.is_some_and(closed);
                        }
                        if step == Step::WeightZero {
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
                    record(Some(Step::Returning), &message);
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

    pub(super) fn max(&self) -> usize {
        usize::try_from(self.policy.stateful_sets.upgrade.max_unavailable).unwrap_or(usize::MAX)
    }

    /// It stays claimed until its weight is back: nothing else is done with it before.
    pub(super) fn give_back(&self, claim: &mut Claim, message: String) {
        claim.step = Step::Returning;
        claim.furthest = Step::Returning;
        claim.since = self.now;
        claim.message = message;
    }

    pub(super) fn moved(&self, status: &mut UpgradeStatus) {
        status.last_progress_at = Some(self.now);
        status.withdrawn = None;
    }

    /// Whether nothing more is to be taken, and gives back what was claimed and not deleted then.
    pub(super) fn halt(
        &self,
        status: &mut UpgradeStatus,
        paused: bool,
        is_aborted: bool,
    ) -> Option<Halt> {
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
            let is_ended = matches!(halt, Halt::Aborted) && claim.furthest < Step::Returning;
            is_ended || claim.step.is_untouched()
        };
        let mut entries = Vec::new();
        for claim in status.ordinals.iter_mut().filter(|claim| is_given_back(claim)) {
            let Claim { ordinal, message, .. } = claim.clone();
            if matches!(halt, Halt::Stalled) && status.withdrawn.is_none() {
                status.withdrawn = Some(Withdrawn { ordinal, message: message.clone() });
            }
            let message = format!("{} is given back: {message}", claim.pod);
            let step = Some(Step::Returning);
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
    pub(super) fn is_late(&self, status: &UpgradeStatus) -> bool {
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
                (Step::Counting, _) => later(claim.since, self.policy.hold.max_seconds),
                // From the last progress, not from the step: a pod that gets ready and unready again and again
                // makes none.
                (_, Step::Soaking) => later(progress, soak.max(self.ground.set.min_ready_seconds)),
                _ => continue,
            };
            moved = moved.max(until.min(self.now));
        }
        self.now.duration_since(moved) > SignedDuration::from_secs(i64::from(deadline))
    }
}

/// Whether nothing is to move in a phase.
pub(super) fn rests(phase: Phase) -> bool {
    phase.is_over() || matches!(phase, Phase::Paused | Phase::WaitingForApproval)
}
