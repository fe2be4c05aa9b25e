//! Kubernetes objects, as the planner takes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{self, ContainerState, ContainerStatus};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use lameduck_core::inject::is_held;
use lameduck_core::names::{
    ANNOTATION_INJECTED, ANNOTATION_ORIGINAL_LB_RS_WEIGHT, ANNOTATION_ORIGINAL_REPLICAS,
    ANNOTATION_PAUSED, ANNOTATION_UPGRADE_DELETES, LB_RS_WEIGHT,
};
use lameduck_core::policy::Policy;
use lameduck_core::upgrade::census::{self, CensusState, CensusStatus};
use lameduck_core::upgrade::facts::{Budget, Pod, Service, Set, Zero};
use lameduck_core::upgrade::object::UpgradeStatus;
use lameduck_core::upgrade::weights::{Port, Protocol};

/// Where TKE writes the CLB's id, and what makes pods its backends.
const LOAD_BALANCER: &str = "service.kubernetes.io/loadbalance-id";
const DIRECT_ACCESS: &str = "service.cloud.tencent.com/direct-access";
/// A Service with target groups obeys no weights of ordinals (facts of document 457/122522).
const TARGET_GROUPS: &str = "service.cloud.tencent.com/target-groups";
/// The label that says of which revision a pod is.
const REVISION: &str = "controller-revision-hash";

/// The StatefulSet, without what its author keeps back.
pub(super) fn set(set: &StatefulSet, partition: u32) -> Set {
    let spec = set.spec.clone().unwrap_or_default();
    let status = set.status.clone().unwrap_or_default();
    let annotations = set.annotations();
    let claims = spec.volume_claim_templates.unwrap_or_default();
    Set {
        version: set.resource_version().unwrap_or_default().into(),
        generation: (
            set.metadata.generation.unwrap_or_default(),
            status.observed_generation.unwrap_or_default(),
        ),
        replicas: number(spec.replicas, 1),
        start: number(spec.ordinals.and_then(|ordinals| ordinals.start), 0),
        partition,
        min_ready_seconds: number(spec.min_ready_seconds, 0),
        has_claims: !claims.is_empty(),
        update_revision: status.update_revision.unwrap_or_default().into(),
        paused: annotations.get(ANNOTATION_PAUSED).is_some_and(|value| value == "true"),
        original_replicas: annotations
            .get(ANNOTATION_ORIGINAL_REPLICAS)
            .and_then(|value| value.parse().ok()),
    }
}

fn number(value: Option<i32>, default: u32) -> u32 {
    value.map_or(default, |value| u32::try_from(value).unwrap_or(0))
}

/// A label selector, as the API takes it.
pub(super) fn selector(selector: &LabelSelector) -> String {
    let pairs = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|one| {
        let values = one.values.clone().unwrap_or_default().join(",");
        match one.operator.as_str() {
            "In" => format!("{} in ({values})", one.key),
            "NotIn" => format!("{} notin ({values})", one.key),
            "DoesNotExist" => format!("!{}", one.key),
            _ => one.key.clone(),
        }
    });
    pairs.chain(expressions).collect::<Vec<_>>().join(",")
}

/// Whether a selector selects labels. An empty one selects all, as everywhere in `policy/v1`.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|one| {
            let value = labels.get(&one.key);
            let values = one.values.as_deref().unwrap_or_default();
            let is_listed = value.is_some_and(|value| values.contains(value));
            match one.operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "DoesNotExist" => value.is_none(),
                _ => value.is_some(),
            }
        })
}

/// The pods of a StatefulSet of this name and UID.
pub(super) fn pods(
    name: &str,
    set_uid: &str,
    pods: &[v1::Pod],
    policy: Option<&Policy>,
    status: Option<&UpgradeStatus>,
    now: Timestamp,
) -> Vec<Pod> {
    let is_owned = |pod: &&v1::Pod| pod.owner_references().iter().any(|owner| owner.uid == set_uid);
    pods.iter().filter(is_owned).filter_map(|pod| one(name, pod, policy, status, now)).collect()
}

fn one(
    set: &str,
    pod: &v1::Pod,
    policy: Option<&Policy>,
    status: Option<&UpgradeStatus>,
    now: Timestamp,
) -> Option<Pod> {
    let name = pod.name_any();
    let ordinal = name.strip_prefix(set)?.strip_prefix('-')?.parse().ok()?;
    let said = pod.status.clone().unwrap_or_default();
    let is_final = matches!(said.phase.as_deref(), Some("Succeeded" | "Failed"));
    let containers = said.container_statuses.as_deref().unwrap_or_default();
    let ready = said.conditions.iter().flatten().find(|one| one.type_ == "Ready");
    let ready = ready.filter(|one| one.status == "True" && !is_final);
    let claim = status.and_then(|status| status.claim(ordinal));
    let counter = claim.and_then(|claim| Some((claim, claim.counter.as_deref()?)));
    let count = counter.zip(policy).and_then(|((claim, counter), policy)| {
        let state = count_state(pod, &said, counter)?;
        let max_seconds = policy.hold.max_seconds;
        Some(census::outcome(&CensusStatus { state, added: claim.since, max_seconds }, now))
    });
    Some(Pod {
        ordinal,
        name: name.as_str().into(),
        uid: pod.uid().unwrap_or_default().into(),
        version: pod.resource_version().unwrap_or_default().into(),
        revision: pod.labels().get(REVISION).map(String::as_str).unwrap_or_default().into(),
        deleted_until: pod.metadata.deletion_timestamp.as_ref().map(|at| at.0),
        ready_since: ready.map(|one| one.last_transition_time.as_ref().map_or(now, |at| at.0)),
        runs: containers
            .iter()
            .any(|one| one.state.as_ref().is_some_and(|state| state.running.is_some())),
        trouble: trouble(&said, containers),
        has_hold: is_held(pod.annotations().get(ANNOTATION_INJECTED).map(String::as_str)),
        marked: pod.annotations().contains_key(ANNOTATION_UPGRADE_DELETES),
        zero: Zero::Unproven("it has not been read yet".into()),
        count,
        next_counter: census::next_name(&container_names(pod)).into(),
    })
}

/// Why a pod does not start.
fn trouble(status: &v1::PodStatus, containers: &[ContainerStatus]) -> Option<Box<str>> {
    let init = status.init_container_statuses.iter().flatten();
    let waiting = init.chain(containers).find_map(|one| {
        let waiting = one.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let is_usual = matches!(reason, "" | "ContainerCreating" | "PodInitializing");
        (!is_usual).then(|| match waiting.message.as_deref() {
            Some(message) => format!("container {}: {reason}: {message}", one.name),
            None => format!("container {}: {reason}", one.name),
        })
    });
    let unscheduled = || {
        let conditions = status.conditions.iter().flatten();
        let unscheduled =
            |one: &&v1::PodCondition| one.type_ == "PodScheduled" && one.status == "False";
        conditions.into_iter().find(unscheduled).and_then(|one| one.message.clone())
    };
    waiting.or_else(unscheduled).map(|why| {
        // A registry's answer may be a page long.
        const SHOWN_CHARS: usize = 200;
        why.chars().take(SHOWN_CHARS).collect::<String>().into()
    })
}

/// The state of the container of this name that counts; None where the pod has none.
fn count_state<'a>(
    pod: &v1::Pod,
    status: &'a v1::PodStatus,
    counter: &str,
) -> Option<CensusState<'a>> {
    container_names(pod).contains(&counter).then_some(())?;
    let said = status.ephemeral_container_statuses.iter().flatten();
    let state = said.into_iter().find(|one| one.name == counter).and_then(|one| one.state.as_ref());
    Some(match state {
        Some(ContainerState { terminated: Some(ended), .. }) => CensusState::Terminated {
            exit_code: ended.exit_code,
            message: ended.message.as_deref().unwrap_or_default(),
        },
        Some(ContainerState { running: Some(running), .. }) => CensusState::Running {
            since: running.started_at.as_ref().map_or(Timestamp::MAX, |at| at.0),
        },
        Some(ContainerState { waiting: Some(waiting), .. }) => CensusState::Waiting {
            reason: waiting.reason.as_deref().unwrap_or_default(),
            message: waiting.message.as_deref().unwrap_or_default(),
        },
        _ => CensusState::Unknown,
    })
}

/// Names of a pod's ephemeral containers.
fn container_names(pod: &v1::Pod) -> Vec<&str> {
    let containers = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    containers.map(|one| one.name.as_str()).collect()
}

/// The Services that matter: those that send to pods with `labels` through weights, where `weights` are
/// set at all, and those that have a record of ours.
pub(super) fn services(
    services: &[v1::Service],
    labels: &BTreeMap<String, String>,
    weights: bool,
) -> Vec<Service> {
    services
        .iter()
        .map(|service| {
            let annotations = service.annotations();
            let load_balancer = carrier(service).filter(|_| weights && sends_to(service, labels));
            Service {
                name: service.name_any().into(),
                version: service.resource_version().unwrap_or_default().into(),
                load_balancer,
                weights: annotations.get(LB_RS_WEIGHT).map(|value| value.as_str().into()),
                record: annotations
                    .get(ANNOTATION_ORIGINAL_LB_RS_WEIGHT)
                    .map(|value| value.as_str().into()),
                ports: ports(service),
            }
        })
        .filter(|service| service.load_balancer.is_some() || service.record.is_some())
        .collect()
}

/// Whether a Service selects pods with `labels`.
pub(super) fn sends_to(service: &v1::Service, labels: &BTreeMap<String, String>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
}

/// The CLB whose weights a Service sets.
fn carrier(service: &v1::Service) -> Option<Arc<str>> {
    let annotations = service.annotations();
    let is_direct = annotations.get(DIRECT_ACCESS).is_some_and(|value| value == "true");
    let type_ = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    if type_ != Some("LoadBalancer") || !is_direct || annotations.contains_key(TARGET_GROUPS) {
        return None;
    }
    annotations.get(LOAD_BALANCER).map(|id| id.as_str().into())
}

fn ports(service: &v1::Service) -> Vec<Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => Protocol::Tcp,
                Some("UDP") => Protocol::Udp,
                Some(_) => return None,
            };
            Some(Port { protocol, port: u16::try_from(port.port).ok()? })
        })
        .collect()
}

/// The budgets that select pods with `labels`. One whose controller has not seen its newest generation
/// allows nothing that is known.
pub(super) fn budgets(
    budgets: &[PodDisruptionBudget],
    labels: &BTreeMap<String, String>,
) -> Vec<Budget> {
    let ours = budgets.iter().filter(|budget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| selects(selector, labels))
    });
    ours.map(|budget| {
        let status = budget.status.clone().unwrap_or_default();
        let is_seen = status.observed_generation >= budget.metadata.generation;
        let allowed = u32::try_from(status.disruptions_allowed).unwrap_or(0);
        Budget { name: budget.name_any().into(), allowed: if is_seen { allowed } else { 0 } }
    })
    .collect()
}
