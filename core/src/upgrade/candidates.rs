//! Which ordinal is taken next, or why none may be.

use super::claims::is_broken;
use super::facts::Facts;
use super::object::{Claim, Step, UpgradeSpec, UpgradeStatus};
use super::reason::Reason;
use super::serving::Ground;
use super::text;
use super::weights::with_zeros;
use super::zeros::wanted;
use crate::policy::{UpgradeMode, Upgrades};

/// What may be done about the pods that still have another revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is none.
    None,
    /// A pod that serves nobody: with it, no more are missing than before.
    Idle(u32),
    /// A pod that serves, and may be missed.
    Serving(u32),
    /// None may be taken now.
    Blocked(Reason, String),
}

impl Next {
    /// Whether one pod more would let a pod go.
    pub(super) fn wants_one_more(&self) -> bool {
        matches!(
            self,
            Self::Serving(_) | Self::Blocked(Reason::LastBackend | Reason::BudgetExhausted, _)
        )
    }
}

/// The ordinals that an upgrade is about: those of the author's replicas, from the partition on. A pod that
/// was added for the upgrade is not among them.
pub(super) fn scope(ground: Ground<'_>) -> impl Iterator<Item = u32> {
    let set = ground.set;
    let replicas = set.original_replicas.unwrap_or(set.replicas).min(set.replicas);
    let end = set.start.saturating_add(replicas);
    (set.first_updated()..end).rev()
}

/// Ordinals whose pods have another revision, also beyond the scope: the highest first.
pub(super) fn outdated(ground: Ground<'_>) -> impl Iterator<Item = u32> {
    let set = ground.set;
    set.ordinals().filter(move |ordinal| {
        *ordinal >= set.first_updated()
            && ground.pod(*ordinal).is_some_and(|pod| {
                pod.deleted_until.is_none() && pod.revision != set.update_revision
            })
    })
}

/// Whether a pod of the author's own replicas has another revision. One that was added for the upgrade is taken
/// away in the end, whatever it has.
pub(super) fn is_left(ground: Ground<'_>) -> bool {
    let scope: Vec<u32> = scope(ground).collect();
    outdated(ground).any(|ordinal| scope.contains(&ordinal))
}

/// What is next.
pub(super) fn next(
    ground: Ground<'_>,
    upgrades: &Upgrades,
    spec: &UpgradeSpec,
    status: &UpgradeStatus,
) -> Next {
    let unclaimed = || outdated(ground).filter(|ordinal| status.claim(*ordinal).is_none());
    // It never got back into service, and another template came meanwhile.
    let again = outdated(ground).find(|ordinal| {
        let pod = ground.pod(*ordinal).map_or("", |pod| &pod.uid);
        let claim = status.claim(*ordinal).filter(|claim| claim.furthest == Step::Returning);
        claim.is_some_and(|claim| *claim.uid != *pod) && ground.leftover(*ordinal).is_none()
    });
    let is_over = status.ordinals.is_empty() && !is_left(ground);
    if again.is_none() && (is_over || unclaimed().next().is_none()) {
        return Next::None;
    }
    if let Some(why) = unapproved(ground, upgrades, spec, status) {
        return Next::Blocked(Reason::ApprovalNeeded, why);
    }
    if let Some(ordinal) = again {
        return Next::Idle(ordinal);
    }
    if let Some((reason, why)) = unfinished(ground, upgrades, status) {
        return Next::Blocked(reason, why);
    }
    // What serves nobody costs nothing, and what comes in its place may serve.
    let broken = unclaimed().find(|ordinal| ground.pod(*ordinal).is_some_and(is_broken));
    if let Some(ordinal) = broken {
        return Next::Idle(ordinal);
    }
    // What has weight 0 still will serve as soon as that is put back.
    let comes_back = |ordinal: &u32| ground.pod(*ordinal).and_then(|pod| ground.returning(pod));
    let idle = unclaimed()
        .find(|ordinal| ground.idle(*ordinal).is_some() && comes_back(ordinal).is_none());
    let Some(ordinal) = idle.or_else(|| unclaimed().next()) else { return Next::None };
    match blocked(ground, upgrades, status, ordinal) {
        None if idle.is_some() => Next::Idle(ordinal),
        Some((reason, why)) => Next::Blocked(reason, why),
        None => Next::Serving(ordinal),
    }
}

/// What has to come back before any other pod is taken, also one that serves nobody: whatever makes all pods
/// unready for a moment must not restart them all.
fn unfinished(
    ground: Ground<'_>,
    upgrades: &Upgrades,
    status: &UpgradeStatus,
) -> Option<(Reason, String)> {
    let max = usize::try_from(upgrades.max_unavailable).unwrap_or(usize::MAX);
    let unclaimed = ground.facts.pods.iter().filter(|pod| status.claim(pod.ordinal).is_none());
    let returning: Vec<String> = unclaimed.filter_map(|pod| ground.returning(pod)).collect();
    if status.ordinals.len() + returning.len() >= max {
        let claim = status.ordinals.first();
        return Some(match claim {
            Some(claim) => (Reason::Replacing, claim.message.clone()),
            None => (Reason::PodsNotServing, returning.first().cloned().unwrap_or_default()),
        });
    }
    None
}

/// Why a person has to be asked first.
fn unapproved(
    ground: Ground<'_>,
    upgrades: &Upgrades,
    spec: &UpgradeSpec,
    status: &UpgradeStatus,
) -> Option<String> {
    let approved = spec.approved_batches.saturating_sub(status.approved_before);
    match upgrades.mode {
        UpgradeMode::Automatic => None,
        UpgradeMode::Manual if approved > 0 => None,
        UpgradeMode::Manual => Some(format!(
            "mode Manual: it starts when spec.approvedBatches is {}",
            status.approved_before.saturating_add(1)
        )),
        UpgradeMode::PerBatch => {
            let waiting = |ordinal: &u32| {
                status.claim(*ordinal).is_none()
                    && outdated(ground).any(|outdated| outdated == *ordinal)
            };
            let begun = scope(ground).filter(|ordinal| !waiting(ordinal)).count();
            let begun = u32::try_from(begun).unwrap_or(u32::MAX);
            let begun = begun.saturating_sub(status.updated_before);
            let allowed = approved.saturating_add(1).saturating_mul(upgrades.max_unavailable);
            (begun >= allowed).then(|| {
                format!(
                    "mode PerBatch: {} of this revision have been taken; the next batch of {} starts when \
                     spec.approvedBatches is {}",
                    text::pods(begun),
                    upgrades.max_unavailable,
                    status.approved_before.saturating_add(approved).saturating_add(1),
                )
            })
        }
    }
}

/// Why a pod that serves, or that may have connections, cannot be taken now.
fn blocked(
    ground: Ground<'_>,
    upgrades: &Upgrades,
    status: &UpgradeStatus,
    ordinal: u32,
) -> Option<(Reason, String)> {
    let Ground { facts, set } = ground;
    let name = ground.name(ordinal);
    if let Some(why) = &facts.balancers.unknown {
        return Some((Reason::ClbUnknown, format!("{name} is not taken: {why}")));
    }
    // Claimed ones are out by our hand, also while they still serve.
    let claimed = |ordinal: u32| status.claim(ordinal).is_some();
    let idle: Vec<(u32, String)> = set
        .ordinals()
        .filter(|ordinal| !claimed(*ordinal))
        .filter_map(|ordinal| Some((ordinal, ground.idle(ordinal)?)))
        .collect();
    let added = set.original_replicas.map(|original| set.start.saturating_add(original));
    let added = added.filter(|added| *added != ordinal);
    if let Some((_, why)) = idle.iter().find(|(idle, _)| Some(*idle) == added) {
        return Some((Reason::Surging, why.clone()));
    }
    let is_idle = idle.iter().any(|(idle, _)| *idle == ordinal);
    let out = status.ordinals.len() + idle.len();
    if !is_idle && out >= usize::try_from(upgrades.max_unavailable).unwrap_or(usize::MAX) {
        let (reason, why) = match (idle.first(), status.ordinals.first()) {
            (Some((_, why)), _) => (Reason::PodsNotServing, why.clone()),
            (None, Some(claim)) => (Reason::Replacing, claim.message.clone()),
            (None, None) => (Reason::PodsNotServing, String::new()),
        };
        return Some((reason, why));
    }
    // What is claimed and not deleted is ready still: the budget does not count it yet.
    let coming = status.ordinals.iter().filter(|claim| claim.step.is_untouched()).count();
    let coming = u32::try_from(coming).unwrap_or(u32::MAX);
    let mut budgets = facts.budgets.iter().filter(|_| !is_idle);
    if let Some(budget) = budgets.find(|budget| budget.allowed <= coming) {
        let why =
            format!("the PodDisruptionBudget {} allows no disruption of {name} now", budget.name);
        return Some((Reason::BudgetExhausted, why));
    }
    let out: Vec<u32> =
        status.ordinals.iter().map(|claim| claim.ordinal).chain([ordinal]).collect();
    if let Some(frontend) = ground.last_backend(&out) {
        let why = format!(
            "{name} is the last backend that takes connections at {frontend}: more replicas or surge 1 \
             would let it go"
        );
        return Some((Reason::LastBackend, why));
    }
    weights_invalid(facts, status, ordinal).map(|why| (Reason::WeightsInvalid, why))
}

/// Why an ordinal cannot be added to the weights of a Service.
fn weights_invalid(facts: &Facts, status: &UpgradeStatus, ordinal: u32) -> Option<String> {
    let mut ordinals = wanted(status);
    ordinals.insert(ordinal);
    facts.services.iter().filter(|service| service.load_balancer.is_some()).find_map(|service| {
        let zeros = super::zeros::beside_others(service, &facts.name, &ordinals)
            .and_then(|zeros| with_zeros(&service.annotations(), &service.ports, &zeros));
        zeros.err().map(|why| format!("Service {}: {why}", service.name))
    })
}

/// Pods that are out by our hand, or may be at any moment.
pub(super) fn out(ground: Ground<'_>, status: &UpgradeStatus) -> usize {
    let unclaimed = ground.facts.pods.iter().filter(|pod| status.claim(pod.ordinal).is_none());
    status.ordinals.len() + unclaimed.filter(|pod| ground.returning(pod).is_some()).count()
}

/// Claims of what was left by something that nobody remembers: a write that was slow, or an object that was
/// deleted. It is put back, and nothing else is done with it meanwhile. It stands in the status first, like
/// everything: a claim that somebody decided before this was seen is then refused.
pub(super) fn leftovers(
    ground: Ground<'_>,
    status: &UpgradeStatus,
    now: jiff::Timestamp,
) -> Vec<Claim> {
    let unclaimed = ground.set.ordinals().filter(|ordinal| status.claim(*ordinal).is_none());
    let left = unclaimed.filter_map(|ordinal| Some((ordinal, ground.leftover(ordinal)?)));
    left.map(|(ordinal, message)| Claim {
        ordinal,
        pod: ground.name(ordinal),
        uid: ground.pod(ordinal).map(|pod| pod.uid.to_string()).unwrap_or_default(),
        step: Step::Returning,
        furthest: Step::Returning,
        since: now,
        counter: None,
        blind: false,
        message,
    })
    .collect()
}

/// A new claim.
pub(super) fn claim(ground: Ground<'_>, ordinal: u32, now: jiff::Timestamp) -> Option<Claim> {
    let pod = ground.pod(ordinal)?;
    let step = if is_broken(pod) { Step::Deleting } else { Step::WeightZero };
    Some(Claim {
        ordinal,
        pod: pod.name.to_string(),
        uid: pod.uid.to_string(),
        step,
        furthest: step,
        since: now,
        counter: None,
        blind: false,
        message: format!("{} is taken out of service", pod.name),
    })
}
