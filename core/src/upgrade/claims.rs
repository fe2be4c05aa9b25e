//! Claimed ordinals: how far each is, from what the cluster shows now.

use jiff::Timestamp;

use super::census::Outcome;
use super::facts::{Pod, Zero};
use super::object::{Claim, Step};
use super::serving::{Ground, not_ready};
use super::zeros::is_zero;
use crate::policy::{Policy, Until};
use crate::time::{clock, later};

/// What has become of a claim.
#[derive(Debug)]
pub(super) enum Course {
    /// It is here, and waits for this. The UID is that of the pod that is to be replaced.
    At { step: Step, message: String, uid: Box<str> },
    /// Its pod is not replaced by this claim: it is given back as it is. Why.
    Back(String),
    /// The ordinal has the revision, and serves.
    Done(String),
    /// It is none of the upgrade's business any more.
    Over(String),
}

/// What a claim is judged by.
pub(super) struct Look<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) policy: &'a Policy,
    /// All claimed ordinals.
    pub(super) claimed: Vec<u32>,
    pub(super) now: Timestamp,
}

impl Look<'_> {
    /// Where a claim stands.
    pub(super) fn course(&self, claim: &Claim) -> Course {
        let Ground { set, .. } = self.ground;
        let name = self.ground.name(claim.ordinal);
        let at = |step, message, uid: &str| Course::At { step, message, uid: uid.into() };
        if !set.has(claim.ordinal) {
            return Course::Over(format!("{name} was scaled away"));
        }
        let Some(pod) = self.ground.pod(claim.ordinal) else {
            let message = format!("the StatefulSet controller makes {name}");
            return at(Step::Replacing, message, &claim.uid);
        };
        if let Some(until) = pod.deleted_until {
            let until = clock(until);
            return at(
                Step::Draining,
                format!(
                    "{name} was deleted, and ends when its connections have, {until} at the latest"
                ),
                &claim.uid,
            );
        }
        let has_revision = pod.revision == set.update_revision;
        // What is on its way back gets there, whatever the template is meanwhile: a write that gives it its
        // weight may be under way, and nothing may be deleted that relies on the zero.
        if claim.furthest < Step::Returning {
            if !has_revision {
                return match self.stays(pod) {
                    Some(why) => Course::Back(why),
                    None => {
                        let (step, message) = self.old(pod, claim);
                        at(step, message, &pod.uid)
                    }
                };
            }
            if *pod.uid == *claim.uid {
                let revision = &pod.revision;
                return Course::Back(format!("{name} stays: the template is {revision} again"));
            }
            let Some(ready_since) = pod.ready_since else {
                return at(Step::Starting, not_ready(pod), &claim.uid);
            };
            let soak = self.policy.stateful_sets.upgrade.soak_seconds.max(set.min_ready_seconds);
            let soaked = later(ready_since, soak);
            if self.now < soaked {
                let until = clock(soaked);
                let message = format!("{name} is ready, and must stay so until {until}");
                return at(Step::Soaking, message, &claim.uid);
            }
        }
        if let Some(message) = self.ground.leftover(claim.ordinal) {
            return at(Step::Returning, message, &claim.uid);
        }
        // One that we made and that does not serve yet is still out by our hand.
        let idle = self.ground.idle(claim.ordinal).filter(|_| *pod.uid != *claim.uid);
        match idle {
            Some(why) if !has_revision => return at(Step::Returning, why, &claim.uid),
            None if !has_revision => return Course::Over(format!("{name} is as it was")),
            _ => {}
        }
        if pod.ready_since.is_none() {
            return at(Step::Starting, not_ready(pod), &claim.uid);
        }
        match self.ground.weightless(pod) {
            Some(why) => at(Step::Returning, why, &claim.uid),
            None => Course::Done(format!("{name} has the revision {} and serves", pod.revision)),
        }
    }

    /// Why a pod that has another revision is not replaced by this claim.
    fn stays(&self, pod: &Pod) -> Option<String> {
        let Ground { set, .. } = self.ground;
        let name = &pod.name;
        if pod.ordinal < set.first_updated() {
            return Some(format!("{name} keeps its revision, as the author's partition says"));
        }
        // Since it was claimed, others may have gone: also those of another set, at the same moment.
        let serves = pod.ready_since.is_some() && matches!(self.not_zeroed(pod.ordinal), Ok(true));
        let frontend = serves.then(|| self.ground.last_backend(&self.claimed)).flatten()?;
        Some(format!("{name} stays: it is the last backend that takes connections at {frontend}"))
    }

    /// A pod that is still to be replaced.
    fn old(&self, pod: &Pod, claim: &Claim) -> (Step, String) {
        let name = &pod.name;
        if is_broken(pod) {
            return (Step::Deleting, format!("{}, so nothing of it drains", not_ready(pod)));
        }
        match self.not_zeroed(pod.ordinal) {
            Err(why) => return (Step::WeightZero, why),
            Ok(true) => {
                return (Step::WeightZero, format!("the weight of {name} is being set to 0"));
            }
            Ok(false) => {}
        }
        let counts_already = claim.counter.is_some() && *claim.uid == *pod.uid;
        let evidence = match &pod.zero {
            Zero::Takes(why) => return (Step::WeightZero, why.to_string()),
            // A read that failed, or a leader that has read nothing yet, makes no connection: the count goes
            // on. It ends nothing without the proof.
            Zero::Unproven(why) if counts_already => return (Step::Counting, why.to_string()),
            Zero::Unproven(why) => return (Step::WeightZero, why.to_string()),
            Zero::Proven(evidence) => evidence,
        };
        let counts =
            matches!(self.policy.hold.until, Until::ConnectionsClosed | Until::ConnectionsIdle);
        if pod.has_hold || !counts || !pod.runs {
            return (Step::Deleting, evidence.to_string());
        }
        let began = if claim.step == Step::Counting { claim.since } else { self.now };
        // What cannot be counted is waited for as a hold would that can ask nobody.
        let blind = match claim.step {
            Step::Counting if *claim.uid == *pod.uid => {
                later(claim.since, self.policy.hold.unreachable_seconds)
            }
            // It has been waited for.
            Step::Deleting if *claim.uid == *pod.uid => self.now,
            _ => Timestamp::MAX,
        };
        match &pod.count {
            Some(Outcome::Closed(evidence)) => (Step::Deleting, format!("{name}: {evidence}")),
            Some(Outcome::Left(left)) => {
                (Step::Deleting, format!("{name} is deleted all the same: {left}"))
            }
            Some(Outcome::Cannot(why)) if self.now < blind => (
                Step::Counting,
                format!(
                    "the connections of {name} cannot be counted ({why}); it gets {} s",
                    self.policy.hold.unreachable_seconds
                ),
            ),
            Some(Outcome::Cannot(why)) => (
                Step::Deleting,
                format!("{name} is deleted without a look at its connections: {why}"),
            ),
            // Not how far it is: that changes each second, and this is stored.
            Some(Outcome::Counting(_)) | None => (
                Step::Counting,
                format!(
                    "{name} has no hold, so its connections are counted, until {} at the latest",
                    clock(later(began, self.policy.hold.max_seconds))
                ),
            ),
        }
    }

    /// Whether a Service still sends to an ordinal by its annotation; the error says why it cannot be told.
    fn not_zeroed(&self, ordinal: u32) -> Result<bool, String> {
        let facts = self.ground.facts;
        for service in facts.services.iter().filter(|service| service.load_balancer.is_some()) {
            let is_zero = is_zero(service, &facts.name, ordinal)
                .map_err(|why| format!("Service {}: {why}", service.name))?;
            if !is_zero {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a pod serves nobody and nothing in it can be lost: what runs without a hold may have
/// connections.
pub(super) fn is_broken(pod: &Pod) -> bool {
    pod.ready_since.is_none() && (pod.has_hold || !pod.runs)
}
