//! Objects of the API -> facts. No IO. What can be enrolled, skipped and injected is decided by core.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::core::{DynamicObject, ObjectMeta};
use lameduck_api::names::{
    ANNOTATION_INJECTED, ANNOTATION_ORIGINAL_REPLICAS, ANNOTATION_PAUSED, CONDITION_TRAFFIC_OFF,
    POLICY_LABEL,
};
use lameduck_core::inject::{Context, Settings, SkipFacts, plan_pod, skip, view};
use lameduck_core::policy::{Policy, TrafficOff};
use lameduck_core::resolve::{Enrolment, enrolment};
use lameduck_core::unprotected::unprotected;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::facts::{
    Certificate, Component, Ending, Hook, Lease, Namespace, Pod, Upgrade, Workload,
};
use crate::common::finalizer::has_finalizer;
use crate::common::policies::Policies;

/// What the objects of a namespace are looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Every policy. Nothing is judged by one that cannot be read.
    pub policies: &'a Policies,
    /// Values of namespaces' policy labels.
    pub namespaces: &'a BTreeMap<String, Option<String>>,
}

impl Rules<'_> {
    fn namespace(&self, name: &str) -> Option<&str> {
        self.namespaces.get(name)?.as_deref()
    }
}

fn label(metadata: &ObjectMeta) -> Option<String> {
    metadata.labels.as_ref()?.get(POLICY_LABEL).cloned()
}

/// A namespace.
#[must_use]
pub fn namespace(metadata: &ObjectMeta) -> Namespace {
    Namespace { name: metadata.name.clone().unwrap_or_default(), policy: label(metadata) }
}

/// One of Lameduck's Deployments.
#[must_use]
pub fn component(deployment: &Deployment) -> Component {
    let spec = deployment.spec.as_ref();
    let containers = spec.and_then(|spec| spec.template.spec.as_ref()).map(|pod| &pod.containers);
    Component {
        name: deployment.name_any(),
        image: containers.and_then(|all| all.first()?.image.clone()).unwrap_or_default(),
        wanted: spec.and_then(|spec| spec.replicas).unwrap_or(1),
        ready: deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0),
    }
}

/// The entries of the webhook configuration.
#[must_use]
pub fn hooks(configuration: &MutatingWebhookConfiguration) -> Vec<Hook> {
    let hooks = configuration.webhooks.iter().flatten();
    hooks
        .map(|hook| {
            let bundle = hook.client_config.ca_bundle.as_ref();
            let ends = bundle.map(|bundle| ends(&bundle.0)).unwrap_or_default();
            Hook { name: hook.name.clone(), trusts_until: ends.into_iter().flatten().max() }
        })
        .collect()
}

/// When each certificate of a PEM text ends, or why that cannot be said.
fn ends(pem: &[u8]) -> Vec<Result<Timestamp, String>> {
    CertificateDer::pem_slice_iter(pem)
        .map(|der| {
            let der = der.map_err(|error| format!("{error:?}"))?;
            let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
            let seconds = parsed.validity().not_after.timestamp();
            Timestamp::from_second(seconds).map_err(|error| error.to_string())
        })
        .collect()
}

/// The certificate that is served: the first of the Secret's chain.
#[must_use]
pub fn certificate(secret: &Secret) -> Certificate {
    let Some(chain) = secret.data.as_ref().and_then(|data| data.get("tls.crt")) else {
        return Certificate::Unreadable("the Secret has no tls.crt".to_owned());
    };
    match ends(&chain.0).into_iter().next() {
        Some(Ok(until)) => Certificate::Until(until),
        Some(Err(why)) => Certificate::Unreadable(why),
        None => Certificate::Unreadable("there is no certificate in tls.crt".to_owned()),
    }
}

/// The controllers' Lease.
#[must_use]
pub fn lease(lease: &v1::Lease) -> Lease {
    let spec = lease.spec.as_ref();
    Lease {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        renewed_at: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        seconds: spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0).into(),
    }
}

/// A Deployment (`deployment`) or a StatefulSet (`statefulset`).
///
/// # Errors
/// It is not shaped as one.
pub fn workload(
    kind: &'static str,
    object: &DynamicObject,
    rules: Rules<'_>,
) -> Result<Workload, String> {
    let unreadable = |error: serde_json::Error| {
        format!("{kind} {}/{}: {error}", object.namespace().unwrap_or_default(), object.name_any())
    };
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let spec = &object.data["spec"];
    let metadata: ObjectMeta =
        serde_json::from_value(spec["template"]["metadata"].clone()).unwrap_or_default();
    let (policy, template_policy) = (label(&object.metadata), label(&metadata));
    let nearest_first =
        [template_policy.as_deref(), policy.as_deref(), rules.namespace(&namespace)];
    let enforced = match enrolment(&namespace, nearest_first) {
        Enrolment::Policy(name) => {
            rules.policies.known.get(name).filter(|policy| policy.is_enforced()).map(|_| name)
        }
        Enrolment::OptedOut | Enrolment::NotEnrolled => None,
    }
    .map(str::to_owned);

    // While there is one pod more for an upgrade, the annotation says what the author wants.
    let authors = object.annotations().get(ANNOTATION_ORIGINAL_REPLICAS);
    let replicas = authors
        .and_then(|replicas| replicas.parse().ok())
        .or(spec["replicas"].as_i64())
        .unwrap_or(1);
    let mut seen = Workload {
        kind,
        namespace,
        name,
        policy,
        template_policy,
        replicas,
        recreates: spec["strategy"]["type"] == "Recreate",
        ..Workload::default()
    };
    if let Some(enforced) = enforced {
        let template = spec["template"].to_string();
        let pod: view::Pod<'_> = serde_json::from_str(&template).map_err(unreadable)?;
        seen.host_network = pod.spec.host_network.unwrap_or(false);
        seen.unprobed = unprobed(&pod);
        seen.warnings = warnings(&pod, &seen.namespace, &enforced, &rules.policies.known);
        seen.enforced = Some(enforced);
    }
    Ok(seen)
}

/// Containers without a readiness probe, where nothing has one: neither does the webhook find a port.
fn unprobed(pod: &view::Pod<'_>) -> Vec<String> {
    let has_one = |container: &view::Container<'_>| {
        container.readiness_probe.is_some() || container.tcp_ports().next().is_some()
    };
    // One container with a probe is enough to say that the pod can serve; a helper beside it needs none.
    if pod.spec.containers.iter().any(has_one) {
        return Vec::new();
    }
    pod.spec.containers.iter().map(|container| container.name.to_string()).collect()
}

/// What the webhook would warn of for a pod of this template.
fn warnings(
    pod: &view::Pod<'_>,
    namespace: &str,
    policy: &str,
    policies: &BTreeMap<String, Policy>,
) -> Vec<String> {
    let settings = Settings { hold_image: String::new(), version: String::new() };
    let context =
        Context { namespace, namespace_policy: Some(policy), policies, settings: &settings };
    let plan = plan_pod(pod, &context);
    // The subject is a pod without a name; hostNetwork has a finding of its own.
    let said = plan.warnings.iter().map(|warning| {
        let (_, what) = warning.split_once(": ").unwrap_or(("", warning));
        what.to_owned()
    });
    said.filter(|warning| !warning.starts_with("hostNetwork")).collect()
}

/// A pod, as far as its metadata tell. `None` in `ending` and `is_unprotected: false` where its details
/// ([`needs_details`]) were not looked at.
#[must_use]
pub fn pod(metadata: &ObjectMeta) -> Pod {
    Pod {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        policy: label(metadata),
        owner: owner(metadata),
        is_unprotected: false,
        ending: None,
    }
}

/// The workload of a pod as `kubectl rollout restart` takes it.
fn owner(metadata: &ObjectMeta) -> Option<String> {
    let owner = crate::status::facts::owner(metadata);
    // The kinds that can be restarted: a ReplicaSet of nobody cannot.
    matches!(owner.kind.as_str(), "deployment" | "statefulset" | "daemonset")
        .then(|| format!("{}/{}", owner.kind, owner.name))
}

fn injected(metadata: &ObjectMeta) -> Option<&str> {
    metadata.annotations.as_ref()?.get(ANNOTATION_INJECTED).map(String::as_str)
}

/// Whether a pod's metadata alone do not tell that all is well with it: only such pods are read whole.
#[must_use]
pub fn needs_details(metadata: &ObjectMeta, rules: Rules<'_>) -> bool {
    if metadata.deletion_timestamp.is_some() {
        return has_finalizer(metadata);
    }
    let (namespace, policy) = (metadata.namespace.as_deref().unwrap_or_default(), label(metadata));
    let enrolment = enrolment(namespace, [policy.as_deref(), rules.namespace(namespace)]);
    let named = match enrolment {
        Enrolment::Policy(name) => rules.policies.known.get(name),
        Enrolment::OptedOut | Enrolment::NotEnrolled => None,
    };
    unprotected(enrolment, named, injected(metadata).is_some(), None)
        .is_some_and(|why| why.as_str() == "NotInjected")
}

/// The same pod, looked at as a whole.
#[must_use]
pub fn details(pod: &core_v1::Pod, rules: Rules<'_>) -> Pod {
    let metadata = &pod.metadata;
    let mut seen = self::pod(metadata);
    let spec = pod.spec.as_ref();
    let annotations = pod.annotations();
    let facts = SkipFacts {
        job_owned: pod.owner_references().iter().any(|owner| owner.kind == "Job"),
        restart_policy: spec.and_then(|spec| spec.restart_policy.as_deref()),
        mirror: annotations.contains_key("kubernetes.io/config.mirror"),
        os: spec.and_then(|spec| spec.os.as_ref()).map(|os| os.name.as_str()),
        node_selector_os: spec
            .and_then(|spec| spec.node_selector.as_ref()?.get("kubernetes.io/os"))
            .map(String::as_str),
        terminating: metadata.deletion_timestamp.is_some(),
    };
    seen.is_unprotected = needs_details(metadata, rules) && skip(&facts).is_none();
    if let Some(deletion) = metadata.deletion_timestamp.as_ref().filter(|_| has_finalizer(metadata))
    {
        // The deletion's time stands with the grace in it.
        let grace = metadata.deletion_grace_period_seconds.unwrap_or(0);
        let deleted_at = deletion.0.saturating_sub(SignedDuration::from_secs(grace));
        seen.ending = Some(ending(pod, deleted_at.unwrap_or(deletion.0), rules));
    }
    seen
}

fn ending(pod: &core_v1::Pod, deleted_at: Timestamp, rules: Rules<'_>) -> Ending {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let containers = || {
        let lists = status.map(|status| {
            [
                &status.container_statuses,
                &status.init_container_statuses,
                &status.ephemeral_container_statuses,
            ]
        });
        lists.into_iter().flatten().flatten().flatten()
    };
    let state = |one: &core_v1::ContainerStatus| one.state.clone().unwrap_or_default();
    let runs = containers().any(|one| state(one).running.is_some());
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let ends = containers().filter_map(|one| state(one).terminated?.finished_at);
    let off = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|all| all.iter().find(|one| one.type_ == CONDITION_TRAFFIC_OFF))
        .filter(|condition| condition.status == "True");
    let policy = label(&pod.metadata)
        .or_else(|| rules.namespace(pod.metadata.namespace.as_deref()?).map(str::to_owned));
    Ending {
        deleted_at,
        runs: runs && !is_over,
        ended_at: ends.map(|time| time.0).max(),
        // Without a time it has been so for ever, and the containers' end counts.
        off_since: off
            .map(|off| off.last_transition_time.as_ref().map_or(deleted_at, |time| time.0)),
        give_up_seconds: match policy.as_ref().and_then(|name| rules.policies.known.get(name)) {
            Some(policy) => Some(policy.traffic_off.give_up_seconds),
            None if policy.is_some_and(|name| rules.policies.unreadable.contains_key(&name)) => {
                None
            }
            None => Some(TrafficOff::default().give_up_seconds),
        },
    }
}

/// An upgrade.
#[must_use]
pub fn upgrade(upgrade: &lameduck_api::Upgrade) -> Upgrade {
    let status = upgrade.status.as_ref();
    Upgrade {
        namespace: upgrade.namespace().unwrap_or_default(),
        name: upgrade.name_any(),
        phase: Some(status.map(|status| status.phase).unwrap_or_default()),
        message: status.map(|status| status.message.clone()).unwrap_or_default(),
        is_paused: upgrade.spec.asked.paused,
        is_annotated: false,
    }
}

/// Whether a StatefulSet says that its upgrades are to stop.
#[must_use]
pub fn is_paused(set: &DynamicObject) -> bool {
    set.annotations().get(ANNOTATION_PAUSED).is_some_and(|value| value == "true")
}
