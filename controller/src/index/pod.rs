//! What is kept of a pod: about 300 bytes.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use lameduck_core::drain::{Condition, ConditionStatus, Containers, Deletion, Release};
use lameduck_core::inject::{GRACE_SECONDS_DEFAULT, Skip};
use lameduck_core::names::{CONDITION_DRAINED, CONDITION_TRAFFIC_OFF, POLICY_LABEL};

use super::intern::Interner;
use crate::slim;

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl PodKey {
    /// A key that shares nothing.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for PodKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

/// A pod of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// UID.
    pub uid: Box<str>,
    /// Version: precondition of writes that must not go backwards.
    pub version: Box<str>,
    /// Name of its policy.
    pub policy: Arc<str>,
    /// Labels.
    pub labels: Box<[(Arc<str>, Arc<str>)]>,
    /// Addresses that a hold of this pod may call from.
    pub addresses: Box<[IpAddr]>,
    /// Addresses of its node.
    pub node_addresses: Box<[IpAddr]>,
    /// Its node; None before it is bound.
    pub node: Option<Arc<str>>,
    /// The author's own grace, in seconds.
    pub original_grace_seconds: u32,
    /// A person let it go. Rare, so that it is kept elsewhere.
    pub release: Option<Box<Release>>,
    /// It was injected.
    pub injected: bool,
    /// Why the webhook would leave it alone.
    pub skip: Option<Skip>,
    /// Position of our finalizer.
    pub finalizer_at: Option<usize>,
    /// Whether anything of it runs.
    pub containers: Containers,
    /// Its deletion.
    pub deletion: Option<Deletion>,
    /// Its `TrafficOff` condition.
    pub traffic_off: Option<Condition>,
    /// Its `Drained` condition.
    pub drained: Option<Condition>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

impl Pod {
    /// Takes from a pod what is kept of it. `first` is the deletion that was known of the same pod.
    pub(super) fn new(pod: slim::Pod, interner: &mut Interner, first: Option<&Deletion>) -> Self {
        let skip = pod.skip();
        let finalizer_at = pod.metadata.finalizer_at();
        let slim::Pod { metadata: meta, spec, status } = pod;
        let original_grace_seconds = meta
            .annotations
            .original_grace
            .as_deref()
            .and_then(|text| text.parse().ok())
            .unwrap_or(GRACE_SECONDS_DEFAULT);
        let deletion = meta.deletion_timestamp.map(|at| {
            let grace = meta.deletion_grace_period_seconds.unwrap_or(0);
            Deletion::new(at.0, u32::try_from(grace).unwrap_or(0)).after(first)
        });
        let node_addresses: Box<[IpAddr]> =
            status.host_ips.iter().filter_map(slim::Ip::parse).collect();
        Self {
            policy: interner.get(meta.labels.get(POLICY_LABEL).map_or("", String::as_str)),
            labels: meta
                .labels
                .iter()
                .map(|(key, value)| (interner.get(key), interner.get(value)))
                .collect(),
            addresses: if spec.host_network {
                node_addresses.clone()
            } else {
                status.pod_ips.iter().filter_map(slim::Ip::parse).collect()
            },
            node_addresses,
            node: (!spec.node_name.is_empty()).then(|| interner.get(&spec.node_name)),
            original_grace_seconds,
            release: meta
                .annotations
                .release
                .and_then(|text| Release::read(&text, &meta.uid))
                .map(Box::new),
            injected: meta.annotations.injected.is_some(),
            skip,
            finalizer_at,
            containers: containers(&status),
            deletion,
            traffic_off: condition(&status, CONDITION_TRAFFIC_OFF),
            drained: condition(&status, CONDITION_DRAINED),
            created: meta.creation_timestamp.map(|at| at.0),
            uid: meta.uid.into(),
            version: meta.resource_version.into(),
        }
    }

    /// Whether there is anything that Lameduck does for it.
    #[must_use]
    pub const fn is_managed(&self) -> bool {
        self.injected || self.finalizer_at.is_some()
    }

    /// Whether every pair of `selector` is among the labels. An empty selector selects nothing.
    #[must_use]
    pub fn matches(&self, selector: &[(Arc<str>, Arc<str>)]) -> bool {
        !selector.is_empty() && selector.iter().all(|wanted| self.labels.contains(wanted))
    }
}

/// Whether anything of the pod runs, by what its kubelet said last.
fn containers(status: &slim::PodStatus) -> Containers {
    if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return Containers::Ended;
    }
    let all = || {
        status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .chain(&status.ephemeral_container_statuses)
    };
    if all().any(|container| container.state.running.is_some()) {
        return Containers::Running;
    }
    let ended = |container: &slim::ContainerStatus| {
        container.state.terminated.is_some() || container.last_state.terminated.is_some()
    };
    if status.container_statuses.iter().any(ended) {
        return Containers::Ended;
    }
    // The kubelet says Running only after a container has run: without a status for one, nobody knows.
    if status.phase == "Pending" { Containers::NeverStarted } else { Containers::Running }
}

fn condition(status: &slim::PodStatus, type_: &str) -> Option<Condition> {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(Condition {
        status: match found.status.as_str() {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        },
        reason: found.reason.as_str().into(),
        message: found.message.as_str().into(),
        since: found.last_transition_time.as_ref().map_or(Timestamp::MAX, |time| time.0),
    })
}
