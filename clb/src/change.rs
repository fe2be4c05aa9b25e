//! Weights to write, and the task that a write becomes. Only for load balancers that TKE does not
//! manage: it writes its own weights back.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::decode::{WEIGHT_MAX, kind, text, texts};
use crate::error::Failure;

/// Most changes of one batch, backends of one change in it, and backends of the batch: document
/// 214/34309.
const CHANGES_MAX: usize = 100;
const TARGETS_OF_CHANGE_MAX: usize = 50;
const TARGETS_MAX: usize = 500;

/// Which part of a listener has the backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The listener itself (layer 4).
    Listener,
    /// A rule, by its id `loc-…`.
    Rule(String),
    /// A rule, by what it is for.
    Path {
        /// The host.
        domain: String,
        /// The path.
        url: String,
    },
}

/// A backend as writes name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A pod or network interface, by its address.
    EniIp(IpAddr),
    /// A machine, by its id `ins-…`.
    Instance(String),
}

/// One backend's new weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetWeight {
    /// The backend.
    pub backend: Backend,
    /// Its port.
    pub port: u16,
    /// 0 to 100.
    pub weight: u8,
}

/// New weights of backends of one listener or rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightChange {
    /// The listener, `lbl-…`.
    pub listener_id: String,
    /// Where in the listener.
    pub location: Location,
    /// The backends, at least one.
    pub targets: Vec<TargetWeight>,
}

impl WeightChange {
    fn members(&self) -> Result<Map<String, Value>, Failure> {
        let invalid = |why: String| Err(Failure::Invalid(why));
        if self.listener_id.is_empty() {
            return invalid("a weight change needs a listener id".to_owned());
        }
        if self.targets.is_empty() {
            return invalid(format!("the weight change of {} names no backend", self.listener_id));
        }
        let mut targets = Vec::new();
        for TargetWeight { backend, port, weight } in &self.targets {
            if *weight > WEIGHT_MAX {
                return invalid(format!("a weight is 0 to {WEIGHT_MAX}, not {weight}"));
            }
            // The port always: the API fails inside without one.
            let mut target = json!({"Port": port, "Weight": weight});
            match backend {
                Backend::EniIp(ip) => target["EniIp"] = json!(ip),
                Backend::Instance(id) => target["InstanceId"] = json!(id),
            }
            targets.push(target);
        }
        let mut members = Map::new();
        members.insert("ListenerId".to_owned(), json!(self.listener_id));
        members.insert("Targets".to_owned(), Value::Array(targets));
        match &self.location {
            Location::Listener => {}
            Location::Rule(id) => {
                members.insert("LocationId".to_owned(), json!(id));
            }
            Location::Path { domain, url } => {
                members.insert("Domain".to_owned(), json!(domain));
                members.insert("Url".to_owned(), json!(url));
            }
        }
        Ok(members)
    }
}

/// The body of ModifyTargetWeight.
pub(crate) fn one(load_balancer_id: &str, change: &WeightChange) -> Result<Value, Failure> {
    let mut members = change.members()?;
    members.insert("LoadBalancerId".to_owned(), json!(load_balancer_id));
    Ok(Value::Object(members))
}

/// The body of BatchModifyTargetWeight.
pub(crate) fn batch(load_balancer_id: &str, changes: &[WeightChange]) -> Result<Value, Failure> {
    let backends: usize = changes.iter().map(|change| change.targets.len()).sum();
    let largest = changes.iter().map(|change| change.targets.len()).max().unwrap_or(0);
    for (count, most, what) in [
        (changes.len(), CHANGES_MAX, "changes"),
        (largest, TARGETS_OF_CHANGE_MAX, "backends of one change"),
        (backends, TARGETS_MAX, "backends"),
    ] {
        if count > most {
            return Err(Failure::Invalid(format!("{count} {what} in one batch, at most {most}")));
        }
    }
    if changes.is_empty() {
        return Err(Failure::Invalid("a batch without a change".to_owned()));
    }
    let list: Result<Vec<_>, _> = changes.iter().map(WeightChange::members).collect();
    Ok(json!({"LoadBalancerId": load_balancer_id, "ModifyList": list?}))
}

/// A write that the API took on. It is done when its [`TaskStatus`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskId(pub String);

/// How far a write is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    /// Where it stands.
    pub state: TaskState,
    /// The load balancers that it is about.
    pub load_balancer_ids: Vec<String>,
    /// What the API says to it, above all to a failure.
    pub message: Option<String>,
}

/// Where a write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It is done.
    Succeeded,
    /// It will not be done.
    Failed,
    /// It is still being done.
    Running,
}

impl TaskStatus {
    pub(crate) fn read(response: &Value) -> Result<Self, Failure> {
        let status = &response["Status"];
        let state = match status.as_u64() {
            Some(0) => TaskState::Succeeded,
            Some(1) => TaskState::Failed,
            Some(2) => TaskState::Running,
            Some(other) => {
                return Err(Failure::Unexpected {
                    detail: format!("the task's Status is {other}"),
                });
            }
            None => {
                let detail = format!("the task's Status is {}", kind(status));
                return Err(Failure::Unexpected { detail });
            }
        };
        Ok(Self {
            state,
            load_balancer_ids: texts(&response["LoadBalancerIds"]),
            message: text(&response["Message"]),
        })
    }
}
