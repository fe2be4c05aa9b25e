//! Writes on a load balancer: what they must be, and what they do. Pure.

use std::net::IpAddr;

use jiff::Timestamp;

use super::error::ApiError;
use super::model::{Health, LoadBalancer, Target};

/// The most targets of one RegisterTargets or DeregisterTargets.
const TARGETS_MAX: usize = 20;
/// The most parts of one BatchModifyTargetWeight, and the most targets of a part and of all.
const PARTS_MAX: usize = 100;
const PART_TARGETS_MAX: usize = 50;
const BATCH_TARGETS_MAX: usize = 500;
/// The most targets of a load balancer, where the quota is not raised.
pub const BACKENDS_MAX: usize = 200;
/// The highest weight.
const WEIGHT_MAX: i64 = 100;
/// The weight of a target that names none.
pub const DEFAULT_WEIGHT: i64 = 10;

/// What a write does with its targets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Bind them.
    Register,
    /// Unbind them.
    Deregister,
    /// Set their weights, with ModifyTargetWeight.
    Weigh,
    /// Set their weights, with BatchModifyTargetWeight.
    WeighBatch,
}

impl Action {
    /// The name of the work in refusals.
    #[must_use]
    pub fn worker(self) -> &'static str {
        match self {
            Self::Register => "AddQLBL4ListenerDevice",
            Self::Deregister => "DelQLBL4ListenerDevice",
            Self::Weigh | Self::WeighBatch => "ModifyQLBL4ListenerDeviceWeight",
        }
    }
}

/// One write. It happens as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// On which load balancer.
    pub load_balancer: String,
    /// What it does.
    pub action: Action,
    /// To which targets; one part but for a batch.
    pub parts: Vec<Part>,
}

/// Targets of one listener or rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// `lbl-…`.
    pub listener: String,
    /// Which rule; needed where the listener has rules.
    pub rule: Option<RuleKey>,
    /// Which targets.
    pub targets: Vec<PartTarget>,
}

/// How a request names a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RuleKey {
    /// By `LocationId`.
    Location(String),
    /// By `Domain` and `Url`.
    Name(String, String),
}

/// A target in a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartTarget {
    /// The pod's address (`EniIp`).
    pub ip: IpAddr,
    /// The pod's port.
    pub port: u16,
    /// The weight that is asked for, if any.
    pub weight: Option<i64>,
    /// What the lab calls it.
    pub name: Option<String>,
}

/// Whether `write` may be done on a load balancer that may have `backends_max` targets.
///
/// # Errors
/// A limit is passed, a value is out of range, or something is not there.
pub fn check(on: &LoadBalancer, write: &Write, backends_max: usize) -> Result<(), ApiError> {
    let all: usize = write.parts.iter().map(|part| part.targets.len()).sum();
    let (parts_max, part_max, all_max) = match write.action {
        Action::Register | Action::Deregister => (1, TARGETS_MAX, TARGETS_MAX),
        // No number is published; a part of a batch has one.
        Action::Weigh => (1, PART_TARGETS_MAX, PART_TARGETS_MAX),
        Action::WeighBatch => (PARTS_MAX, PART_TARGETS_MAX, BATCH_TARGETS_MAX),
    };
    let longest = write.parts.iter().map(|part| part.targets.len()).max().unwrap_or(0);
    if write.parts.len() > parts_max || longest > part_max || all > all_max {
        return Err(ApiError::new(
            "InvalidParameterValue.Length",
            format!("{all} targets in {} parts are more than are allowed.", write.parts.len()),
        ));
    }
    if write.parts.is_empty() || write.parts.iter().any(|part| part.targets.is_empty()) {
        return Err(ApiError::missing("Targets"));
    }
    for part in &write.parts {
        check_part(on, write.action, part)?;
    }
    let bound: usize = on.pools().map(|(.., targets)| targets.len()).sum();
    if write.action == Action::Register && bound + all > backends_max {
        let message = format!("{} has {bound} targets of at most {backends_max}.", on.id);
        return Err(ApiError::new("LimitExceeded", message));
    }
    Ok(())
}

fn check_part(on: &LoadBalancer, action: Action, part: &Part) -> Result<(), ApiError> {
    let bound = pool(on, part)?;
    for (index, target) in part.targets.iter().enumerate() {
        let at = format!("{}:{}", target.ip, target.port);
        let same = |other: &PartTarget| other.ip == target.ip && other.port == target.port;
        if part.targets.iter().skip(index + 1).any(same) {
            let message = format!("the target {at} is named twice");
            return Err(ApiError::new("InvalidParameterValue.Duplicate", message));
        }
        if target.weight.is_some_and(|weight| !(0..=WEIGHT_MAX).contains(&weight)) {
            let message = format!("the weight of {at} is not in 0 to {WEIGHT_MAX}");
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        let known = bound.iter().any(|one| one.ip == target.ip && one.port == target.port);
        if action != Action::Register && !known {
            let message = format!("the target {at} of {} is not found", part.listener);
            return Err(ApiError::new("InvalidParameter", message));
        }
    }
    Ok(())
}

/// The targets that `part` is about.
fn pool<'a>(on: &'a LoadBalancer, part: &Part) -> Result<&'a [Target], ApiError> {
    let listener =
        on.listeners.iter().find(|listener| listener.id == part.listener).ok_or_else(|| {
            let message = format!("some ListenerId {} not found", part.listener);
            ApiError::new("InvalidParameter.ListenerIdNotFound", message)
        })?;
    match (&part.rule, listener.protocol.has_rules()) {
        (None, false) => Ok(&listener.targets),
        (None, true) => Err(ApiError::missing("LocationId")),
        (Some(_), false) => {
            let message = format!("{} has no rules", listener.id);
            Err(ApiError::new("InvalidParameter.LocationNotFound", message))
        }
        (Some(key), true) => {
            let found = listener.rules.iter().find(|rule| match key {
                RuleKey::Location(id) => rule.location_id == *id,
                RuleKey::Name(domain, url) => rule.domain == *domain && rule.url == *url,
            });
            found.map(|rule| rule.targets.as_slice()).ok_or_else(|| {
                let message = format!("the rule {key:?} of {} is not found", listener.id);
                ApiError::new("InvalidParameter.LocationNotFound", message)
            })
        }
    }
}

/// Does `write`, which was checked before. What has gone since is passed over.
pub fn apply(on: &mut LoadBalancer, write: &Write, now: Timestamp) {
    for part in &write.parts {
        let Some(listener) = on.listeners.iter_mut().find(|one| one.id == part.listener) else {
            continue;
        };
        let targets = match &part.rule {
            None => &mut listener.targets,
            Some(key) => {
                let found = listener.rules.iter_mut().find(|rule| match key {
                    RuleKey::Location(id) => rule.location_id == *id,
                    RuleKey::Name(domain, url) => rule.domain == *domain && rule.url == *url,
                });
                match found {
                    Some(rule) => &mut rule.targets,
                    None => continue,
                }
            }
        };
        for target in &part.targets {
            apply_target(targets, write.action, target, now);
        }
    }
}

fn apply_target(targets: &mut Vec<Target>, action: Action, target: &PartTarget, now: Timestamp) {
    let index = targets.iter().position(|one| one.ip == target.ip && one.port == target.port);
    let weight = u32::try_from(target.weight.unwrap_or(DEFAULT_WEIGHT)).unwrap_or(0);
    match (action, index) {
        (Action::Deregister, Some(index)) => {
            targets.remove(index);
        }
        // Bound once more: the weight is taken over, the time stays.
        (Action::Register | Action::Weigh | Action::WeighBatch, Some(index)) => {
            targets[index].weight = weight;
        }
        (Action::Register, None) => targets.push(Target {
            ip: target.ip,
            port: target.port,
            weight,
            registered: now,
            health: Health::Alive,
            name: target.name.clone(),
        }),
        (Action::Deregister | Action::Weigh | Action::WeighBatch, None) => {}
    }
}
