//! Which ordinals have weight 0 by our hand, on which Service.

use std::collections::BTreeSet;

use super::facts::{Facts, Service};
use super::object::{Claim, Step, UpgradeStatus};
use super::weights::{Change, Invalid, Zeros, with_zeros, zeros};

/// The ordinals whose weight is to be 0.
pub(super) fn wanted(status: &UpgradeStatus) -> BTreeSet<u32> {
    // Once a weight is on its way back it is not taken again, though the pod gets unready: a write that gives
    // it may be under way at any time from then on.
    let is_out = |claim: &&Claim| claim.step.is_out() && claim.furthest < Step::Returning;
    let out = status.ordinals.iter().filter(is_out);
    out.map(|claim| claim.ordinal).collect()
}

/// What is to be at 0 on a Service: these of one set, and those of other sets as they are.
pub(super) fn beside_others(
    service: &Service,
    set: &str,
    ordinals: &BTreeSet<u32>,
) -> Result<Zeros, Invalid> {
    let mut all = match zeros(&service.annotations()) {
        // Nothing is wanted there: then it need not be understood either.
        Err(_) if ordinals.is_empty() => Zeros::default(),
        other => other?,
    };
    if ordinals.is_empty() {
        all.remove(set);
    } else {
        all.insert(set.into(), ordinals.clone());
    }
    Ok(all)
}

/// Whether a Service has weights of ours for the set.
pub(super) fn has_ours(service: &Service, set: &str) -> bool {
    // A record that cannot be read may be about any set. It is taken off by whoever comes first.
    zeros(&service.annotations()).map_or(service.record.is_some(), |all| all.contains_key(set))
}

/// Whether an ordinal of the set has our weight 0 on a Service.
pub(super) fn is_zero(service: &Service, set: &str, ordinal: u32) -> Result<bool, Invalid> {
    let ours = zeros(&service.annotations())?;
    Ok(ours.get(set).is_some_and(|ordinals| ordinals.contains(&ordinal)))
}

/// A Service on which an ordinal has our weight 0.
pub(super) fn where_zero(facts: &Facts, ordinal: u32) -> Option<&str> {
    let is_ours = |service: &&Service| is_zero(service, &facts.name, ordinal).unwrap_or(false);
    facts.services.iter().find(is_ours).map(|service| &*service.name)
}

/// Ordinals of other sets with weight 0 by our hand, at one load balancer.
pub(super) fn of_others(facts: &Facts, load_balancer: &str) -> usize {
    let is_there = |service: &&Service| service.load_balancer.as_deref() == Some(load_balancer);
    let services = facts.services.iter().filter(is_there);
    let all = services.flat_map(|service| zeros(&service.annotations()).unwrap_or_default());
    all.filter(|(set, _)| **set != *facts.name).map(|(_, ordinals)| ordinals.len()).sum()
}

/// The first Service whose annotations are not as they are to be, and how they are to be.
pub(super) fn change<'a>(
    facts: &'a Facts,
    ordinals: &BTreeSet<u32>,
) -> Option<(&'a Service, Change)> {
    let none = BTreeSet::new();
    facts.services.iter().find_map(|service| {
        // Where no CLB obeys any more, nothing of ours stays.
        let ordinals = if service.load_balancer.is_some() { ordinals } else { &none };
        if ordinals.is_empty() && !has_ours(service, &facts.name) {
            return None;
        }
        let zeros = beside_others(service, &facts.name, ordinals).ok()?;
        let change = with_zeros(&service.annotations(), &service.ports, &zeros).ok()??;
        Some((service, change))
    })
}
