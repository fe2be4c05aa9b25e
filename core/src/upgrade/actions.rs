//! The one action that follows from a status that is stored.

use std::collections::BTreeSet;

use super::candidates;
use super::facts::{Facts, Pod, Set};
use super::object::{Step, UpgradeStatus};
use super::plan::Planner;
use super::surge;
use super::weights::Change;
use super::zeros;

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

/// Weights and replicas as they were.
pub(super) fn put_back(facts: &Facts, set: Option<&Set>) -> Option<Action> {
    unmark(facts, &BTreeSet::new())
        .or_else(|| set_weights(facts, &BTreeSet::new()))
        .or_else(|| set.and_then(surge::back))
}

/// Takes the mark off a pod that is not to be deleted: before its weight comes back, so that a deletion that
/// somebody decided earlier, and has not sent yet, meets another version of the pod.
pub(super) fn unmark(facts: &Facts, deleting: &BTreeSet<u32>) -> Option<Action> {
    let mut alive = facts.pods.iter().filter(|pod| pod.deleted_until.is_none());
    let pod = alive.find(|pod| pod.marked && !deleting.contains(&pod.ordinal))?;
    Some(mark(pod, false))
}

pub(super) fn mark(pod: &Pod, on: bool) -> Action {
    Action::Mark { pod: pod.name.clone(), uid: pod.uid.clone(), version: pod.version.clone(), on }
}

pub(super) fn set_weights(facts: &Facts, ordinals: &BTreeSet<u32>) -> Option<Action> {
    let (service, change) = zeros::change(facts, ordinals)?;
    Some(Action::SetWeights {
        service: service.name.clone(),
        version: service.version.clone(),
        change,
    })
}

/// Ordinals whose pods are about to be deleted.
pub(super) fn deleting(status: &UpgradeStatus) -> BTreeSet<u32> {
    let claims = status.ordinals.iter().filter(|claim| claim.step == Step::Deleting);
    claims.map(|claim| claim.ordinal).collect()
}

impl Planner<'_> {
    /// Marks a claimed pod that may go, and deletes it.
    pub(super) fn delete(&self, status: &UpgradeStatus) -> Option<Action> {
        // A zero that came late, or that the load balancer still has, counts too.
        if candidates::out(self.ground, status) > self.max() {
            return None;
        }
        let claims = status.ordinals.iter().filter(|claim| claim.step == Step::Deleting);
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
    pub(super) fn start_count(&self, status: &UpgradeStatus) -> Option<Action> {
        let claims = status.ordinals.iter().filter(|claim| claim.step == Step::Counting);
        let mut uncounted = claims.filter_map(|claim| {
            let pod = self.ground.pod(claim.ordinal).filter(|pod| *pod.uid == *claim.uid)?;
            pod.count.is_none().then_some((pod, claim.counter.as_deref()?))
        });
        let (pod, name) = uncounted.next()?;
        Some(Action::Count { pod: pod.name.clone(), uid: pod.uid.clone(), name: name.into() })
    }
}
