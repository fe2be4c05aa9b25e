//! The facts that an upgrade is decided from. Whoever fills them in decides nothing.

use std::sync::Arc;

use jiff::Timestamp;

use super::census;
use super::object::{UpgradeSpec, UpgradeStatus};
use super::weights::{Annotations, Port};
use crate::drain::clb::Place;
use crate::policy::Policy;

/// Everything about one StatefulSet, read from the API server and not from a cache.
///
/// All of it is of one time in the life of the `Upgrade`: it is read before everything else and once more after
/// it, and its `resourceVersion` is the same. Else a claim of yesterday meets the Service of today, and the
/// precondition of a write says nothing (`core/tests/upgrade_model` shows how a pod with weight is deleted then).
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name.
    pub name: Box<str>,
    /// The StatefulSet; None where it is gone, or is being deleted.
    pub set: Option<Set>,
    /// The policy that it is upgraded by; or why Lameduck does not upgrade it.
    pub policy: Result<Arc<Policy>, NotOurs>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// Services that send to its pods through weights, and those that have weights of ours for it.
    pub services: Vec<Service>,
    /// Its load balancers.
    pub balancers: Balancers,
    /// Disruption budgets that select its pods.
    pub budgets: Vec<Budget>,
    /// The `Upgrade` object.
    pub upgrade: Option<Upgrade>,
}

/// Why Lameduck does not upgrade a StatefulSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// It is not enrolled, or its policy does not enforce.
    NotEnrolled,
    /// Its update strategy is not the one that Lameduck put there: its author upgrades it.
    AuthorsStrategy,
    /// It is gone.
    Gone,
}

/// A StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// `metadata.resourceVersion`.
    pub version: Box<str>,
    /// `metadata.generation`, and the one that its controller has seen.
    pub generation: (i64, i64),
    /// `spec.replicas`.
    pub replicas: u32,
    /// `spec.ordinals.start`.
    pub start: u32,
    /// `updateStrategy.rollingUpdate.partition` of its author: so many ordinals from the first one on keep
    /// their revision.
    pub partition: u32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: u32,
    /// It has volumeClaimTemplates.
    pub has_claims: bool,
    /// `status.updateRevision`.
    pub update_revision: Box<str>,
    /// The annotation `lameduck.dev/paused`.
    pub paused: bool,
    /// The annotation `lameduck.dev/original-replicas`: there is one pod more for the upgrade.
    pub original_replicas: Option<u32>,
}

impl Set {
    /// Whether an ordinal is one of the set's.
    #[must_use]
    pub fn has(&self, ordinal: u32) -> bool {
        ordinal >= self.start && ordinal - self.start < self.replicas
    }

    /// The first ordinal that gets a new revision. The partition is counted from the start, as the
    /// StatefulSet controller does (`isCurrentRevisionNeeded` in its `stateful_set_utils.go`).
    #[must_use]
    pub fn first_updated(&self) -> u32 {
        self.start.saturating_add(self.partition)
    }

    /// Its ordinals, the highest first: the order in which they are replaced.
    pub fn ordinals(&self) -> impl Iterator<Item = u32> + use<> {
        (self.start..self.start.saturating_add(self.replicas)).rev()
    }
}

/// A pod of the StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its ordinal.
    pub ordinal: u32,
    /// Name.
    pub name: Box<str>,
    /// UID.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub version: Box<str>,
    /// The label `controller-revision-hash`.
    pub revision: Box<str>,
    /// It is being deleted; until then its kubelet waits for it.
    pub deleted_until: Option<Timestamp>,
    /// Since when it is ready; None while it is not.
    pub ready_since: Option<Timestamp>,
    /// A container of it runs.
    pub runs: bool,
    /// Why it does not start, in the kubelet's words.
    pub trouble: Option<Box<str>>,
    /// A hold keeps it alive once it is deleted.
    pub has_hold: bool,
    /// It has the annotation `lameduck.dev/upgrade-deletes`: somebody may be about to delete it.
    pub marked: bool,
    /// Whether its weight was read as 0 on every load balancer that carries it.
    pub zero: Zero,
    /// What the container says that counts its connections for its claim; None where there is none.
    pub count: Option<census::Outcome>,
    /// The name of a container that would count them anew.
    pub next_counter: Box<str>,
}

/// What reads say about a pod that is to have weight 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zero {
    /// Proven, by reads that began after every Service was read with this ordinal's zero, at the version that
    /// it has now. Reads from before may be of an earlier claim. The evidence.
    Proven(Box<str>),
    /// A load balancer sends to it. Which.
    Takes(Box<str>),
    /// It cannot be said, or not often enough yet. Why.
    Unproven(Box<str>),
}

/// A Service that a TKE CLB stands in front of, or that has weights of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name.
    pub name: Box<str>,
    /// `metadata.resourceVersion`.
    pub version: Box<str>,
    /// Its CLB, where it sends to the set's pods and obeys `lb-rs-weight`.
    pub load_balancer: Option<Arc<str>>,
    /// The annotation with weights.
    pub weights: Option<Box<str>>,
    /// What we remember of it.
    pub record: Option<Box<str>>,
    /// Its ports.
    pub ports: Vec<Port>,
}

impl Service {
    /// Both annotations.
    #[must_use]
    pub fn annotations(&self) -> Annotations<'_> {
        Annotations { weights: self.weights.as_deref(), record: self.record.as_deref() }
    }
}

/// What is read of the load balancers in front of the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancers {
    /// Listeners and rules that have a backend.
    pub frontends: Vec<Frontend>,
    /// Why not all is known.
    pub unknown: Option<Box<str>>,
}

/// A listener or a rule of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// `lb-…`.
    pub load_balancer: Arc<str>,
    /// Where.
    pub place: Place,
    /// `TCP:80`, for messages.
    pub name: Box<str>,
    /// The Service's port, where it is one.
    pub port: Option<Port>,
    /// Its backends.
    pub backends: Vec<Backend>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The set's pod that it is, by UID.
    pub pod: Option<Box<str>>,
    /// 0 to 100; None where it could not be read.
    pub weight: Option<u8>,
    /// What the load balancer's own health check says; None where nobody knows.
    pub healthy: Option<bool>,
}

/// A PodDisruptionBudget that selects pods of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Name.
    pub name: Box<str>,
    /// `status.disruptionsAllowed`, of the generation that its controller has seen.
    pub allowed: u32,
}

/// The `Upgrade` object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    /// What a person asks for.
    pub spec: UpgradeSpec,
    /// What was reported last.
    pub status: UpgradeStatus,
}
