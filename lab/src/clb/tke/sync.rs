//! Targets as they are and as they should be -> the next write. Pure.

use std::collections::BTreeMap;

use super::desired::{PoolKey, Row};
use crate::clb::model::{Listener, LoadBalancer, Rule, Target};
use crate::clb::write::{Action, Part, PartTarget, RuleKey, Write};

/// The most targets of a write that binds or unbinds.
const TARGETS_MAX: usize = 20;
/// The most targets of a part of a batch, and the most parts so that all have no more than 500.
const PART_TARGETS_MAX: usize = 50;
const PARTS_MAX: usize = 10;

/// What has to be written first to bring `current` closer to what its listeners should have; none where
/// nothing is to be done. What takes traffic comes before what stops taking it.
///
/// A write is about one listener or rule, so that those of a pod do not read the same at the same time.
/// How TKE does it is not documented; this is the way that is harder for who reads.
#[must_use]
pub fn next_write(
    current: &LoadBalancer,
    wanted: &BTreeMap<PoolKey, Option<Vec<Row>>>,
) -> Option<Write> {
    let mut register = Vec::new();
    let mut weigh = Vec::new();
    let mut deregister = Vec::new();
    for (listener, rule, _, targets) in current.pools() {
        let Some(Some(rows)) = wanted.get(&key(current, listener, rule)) else { continue };
        let is = |row: &Row, target: &Target| target.ip == row.ip && target.port == row.port;
        let mut missing = Vec::new();
        let mut changed = Vec::new();
        for row in rows {
            match targets.iter().find(|target| is(row, target)) {
                None => missing.push(part_target(row)),
                Some(target) if target.weight != row.weight => changed.push(part_target(row)),
                Some(_) => {}
            }
        }
        let gone: Vec<PartTarget> = targets
            .iter()
            .filter(|target| !rows.iter().any(|row| is(row, target)))
            .map(|target| PartTarget { ip: target.ip, port: target.port, weight: None, name: None })
            .collect();
        let location = rule.map(|rule| RuleKey::Location(rule.location_id.clone()));
        let part = |targets: &[PartTarget]| Part {
            listener: listener.id.clone(),
            rule: location.clone(),
            targets: targets.to_vec(),
        };
        register.extend(missing.chunks(TARGETS_MAX).map(part));
        if weigh.is_empty() {
            weigh.extend(changed.chunks(PART_TARGETS_MAX).take(PARTS_MAX).map(part));
        }
        deregister.extend(gone.chunks(TARGETS_MAX).map(part));
    }
    let write = |action, parts| Write { load_balancer: current.id.clone(), action, parts };
    let first = |parts: Vec<Part>| parts.into_iter().take(1).collect::<Vec<_>>();
    if !register.is_empty() {
        return Some(write(Action::Register, first(register)));
    }
    if !weigh.is_empty() {
        return Some(write(Action::WeighBatch, weigh));
    }
    (!deregister.is_empty()).then(|| write(Action::Deregister, first(deregister)))
}

fn part_target(row: &Row) -> PartTarget {
    PartTarget {
        ip: row.ip,
        port: row.port,
        weight: Some(row.weight.into()),
        name: Some(row.name.clone()),
    }
}

/// How objects name this listener or rule.
#[must_use]
pub fn key(of: &LoadBalancer, listener: &Listener, rule: Option<&Rule>) -> PoolKey {
    PoolKey {
        load_balancer: of.id.clone(),
        protocol: listener.protocol,
        port: listener.port,
        rule: rule.map(|rule| (rule.domain.clone(), rule.url.clone())),
    }
}

/// Whether `row` is bound in the listener or rule `pool`, and alive.
#[must_use]
pub fn is_bound(current: &LoadBalancer, pool: &PoolKey, row: &Row) -> bool {
    current.pools().any(|(listener, rule, _, targets)| {
        key(current, listener, rule) == *pool
            && targets.iter().any(|target| {
                target.ip == row.ip
                    && target.port == row.port
                    && target.health == crate::clb::model::Health::Alive
            })
    })
}
