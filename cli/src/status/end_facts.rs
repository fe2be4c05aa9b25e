//! What only the whole object says, of a pod that ends, and where it stands by that.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use lameduck_api::names::{CONDITION_DRAINED, CONDITION_TRAFFIC_OFF};
use lameduck_api::state::HoldSeen;
use lameduck_core::drain::Containers;

use super::document::{Hold, Phase};
use super::facts::PodFacts;

/// What only the whole object says, of a pod that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndFacts {
    /// The version that was read.
    pub version: String,
    /// Its node.
    pub node: Option<String>,
    /// Its `TrafficOff` condition.
    pub traffic: Option<ConditionFacts>,
    /// Its `Drained` condition.
    pub drained: Option<ConditionFacts>,
    /// Whether anything of it runs.
    pub containers: Containers,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionFacts {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

impl EndFacts {
    /// From the object.
    #[must_use]
    pub fn new(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let condition = |type_: &str| {
            let found = status.conditions.iter().flatten().find(|one| one.type_ == type_)?;
            Some(ConditionFacts {
                status: found.status.clone(),
                reason: found.reason.clone().unwrap_or_default(),
                message: found.message.clone().unwrap_or_default(),
                since: found.last_transition_time.as_ref().map(|at| at.0),
            })
        };
        Self {
            version: pod.metadata.resource_version.clone().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            traffic: condition(CONDITION_TRAFFIC_OFF),
            drained: condition(CONDITION_DRAINED),
            containers: containers(&status),
        }
    }

    /// What the pod waits for, where these are the [`last_words`] of its holds.
    #[must_use]
    pub fn phase(&self, pod: &PodFacts, holds: &[Hold]) -> Phase {
        if self.containers != Containers::Running {
            Phase::Ended
        } else if !pod.held {
            Phase::NotHeld
        } else if pod.release.is_some() || (self.drained.is_some() && holds.is_empty()) {
            Phase::Stopping
        } else if self.traffic.as_ref().is_some_and(ConditionFacts::is_true) {
            Phase::WaitingForConnections
        } else {
            Phase::WaitingForTraffic
        }
    }
}

impl ConditionFacts {
    /// Whether it says `True`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// What each hold of a pod said last: a hold asks one replica after the other. One that said nothing since the pod's
/// report is over.
#[must_use]
pub fn last_words<'a>(
    seen: impl IntoIterator<Item = &'a HoldSeen>,
    facts: Option<&EndFacts>,
) -> Vec<Hold> {
    let reported_at = facts.and_then(|facts| facts.drained.as_ref()?.since);
    let mut newest = BTreeMap::new();
    for seen in seen {
        let entry = newest.entry(seen.container.as_str()).or_insert(seen);
        if entry.at < seen.at {
            *entry = seen;
        }
    }
    newest
        .into_values()
        .filter(|seen| reported_at.is_none_or(|at| seen.at > at))
        .map(|seen| Hold {
            container: seen.container.clone(),
            phase: seen.phase.clone(),
            connections: seen.connections,
            at: seen.at,
        })
        .collect()
}

/// Whether anything of the pod runs, judged as the controller's index does (`controller/src/index/pod.rs`): a
/// status that judged otherwise would say what the controller does not do.
fn containers(status: &PodStatus) -> Containers {
    let phase = status.phase.as_deref().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return Containers::Ended;
    }
    let is_running =
        |one: &ContainerStatus| one.state.as_ref().is_some_and(|at| at.running.is_some());
    let has_run = |one: &ContainerStatus| {
        let is_over =
            |at: &Option<ContainerState>| at.as_ref().is_some_and(|at| at.terminated.is_some());
        is_over(&one.state) || is_over(&one.last_state)
    };
    let own = || status.container_statuses.iter().flatten();
    let others = status.init_container_statuses.iter().chain(&status.ephemeral_container_statuses);
    if own().chain(others.flatten()).any(is_running) {
        return Containers::Running;
    }
    if own().any(has_run) {
        return Containers::Ended;
    }
    // The kubelet says Running only after a container has run: without a status for one, nobody knows.
    if phase == "Pending" { Containers::NeverStarted } else { Containers::Running }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_runs_is_judged_as_the_controller_does() {
        let running = || json!([{"state": {"running": {}}}]);
        let waiting = || json!([{"state": {"waiting": {"reason": "ContainerCreating"}}}]);
        let over = || json!([{"state": {"terminated": {"exitCode": 0}}}]);
        let backs_off =
            || json!([{"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 1}}}]);
        let own = |statuses: Value| json!({"phase": "Running", "containerStatuses": statuses});
        let with = |mut status: Value, key: &str, statuses: Value| {
            status[key] = statuses;
            status
        };
        let phase = |mut status: Value, phase: &str| {
            status["phase"] = phase.into();
            status
        };
        let sidecar = "initContainerStatuses";
        let table = [
            ("the app runs", own(running()), Containers::Running),
            ("all terminated", own(over()), Containers::Ended),
            ("a sidecar still runs", with(own(over()), sidecar, running()), Containers::Running),
            ("a sidecar has ended too", with(own(over()), sidecar, over()), Containers::Ended),
            (
                "somebody debugs it",
                with(own(over()), "ephemeralContainerStatuses", running()),
                Containers::Running,
            ),
            ("ContainerCreating", phase(own(waiting()), "Pending"), Containers::NeverStarted),
            (
                "init has ended, the app waits",
                with(phase(own(waiting()), "Pending"), sidecar, over()),
                Containers::NeverStarted,
            ),
            ("it crashes", own(backs_off()), Containers::Ended),
            ("no status of a container", json!({"phase": "Running"}), Containers::Running),
            ("not bound", json!({"phase": "Pending"}), Containers::NeverStarted),
            ("Failed, and its kubelet is away", phase(own(running()), "Failed"), Containers::Ended),
            ("Succeeded", json!({"phase": "Succeeded"}), Containers::Ended),
            ("nothing is known", json!({}), Containers::Running),
        ];
        for (what, status, expected) in table {
            let mut status = status;
            for key in [sidecar, "containerStatuses", "ephemeralContainerStatuses"] {
                for one in status[key].as_array_mut().into_iter().flatten() {
                    one["name"] = "one".into();
                }
            }
            if let Some(fields) = status.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
            let pod = json!({"metadata": {"name": "x"}, "status": status});
            let pod: Pod = serde_json::from_value(pod).expect("a pod");
            assert_eq!(EndFacts::new(&pod).containers, expected, "{what}");
        }
    }
}
