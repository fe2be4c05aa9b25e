//! What an upgrade says of itself: phase, reason, message.

use super::candidates::{self, Next};
use super::conditions::conditions;
use super::facts::Pod;
use super::object::{Phase, UpgradeStatus};
use super::plan::Planner;
use super::progress::{Halt, rests};
use super::reason::Reason;
use super::serving::Ground;
use super::surge::Surge;
use super::{text, zeros};

impl Planner<'_> {
    pub(super) fn count(&self, status: &mut UpgradeStatus) {
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
    pub(super) fn say(
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
            (None, next, Surge::Wanted(_)) if next.wants_one_more() => {
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
    pub(super) fn waiting(&self, status: &UpgradeStatus) -> Phase {
        if self.is_late(status) { Phase::Stalled } else { Phase::Progressing }
    }

    /// Every pod has the revision: what is left to do.
    pub(super) fn last_part(
        &self,
        status: &UpgradeStatus,
        surge: &Surge,
    ) -> (Phase, Reason, String) {
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
        let mut message =
            format!("{} have the revision {}", text::pods(status.total), set.update_revision);
        if set.partition > 0 {
            message.push_str(&format!(
                "; ordinals below {} keep theirs, as the author's partition says",
                set.first_updated()
            ));
        }
        (Phase::Complete, Reason::Complete, message)
    }
}
