//! What counts of each object: small structs, not whole objects, so that ten thousand pods fit.

use crate::common::finalizer::has_finalizer;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Object;
use lameduck_api::names::{
    ANNOTATION_INJECTED, ANNOTATION_ORIGINAL_GRACE, ANNOTATION_RELEASE, POLICY_LABEL,
};
use lameduck_core::drain::{Deletion, Release};
use lameduck_core::inject::{GRACE_SECONDS_DEFAULT, Skip, SkipFacts, is_held, skip};
use lameduck_core::policy::{Mode, Policy};
use serde::Deserialize;

/// What counts of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its label.
    pub label: Option<String>,
}

impl NamespaceFacts {
    /// From metadata.
    #[must_use]
    pub fn new(meta: &ObjectMeta) -> Self {
        Self { label: label(meta) }
    }
}

/// What counts of a policy. A field of a newer version is no reason not to read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// What is not known is as the default has it.
    pub policy: Policy,
}

/// The part of a `TerminationPolicy` that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    mode: serde_json::Value,
    hold: PolicyHold,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicyHold {
    max_seconds: Option<u32>,
}

/// No status is read.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Nothing {}

impl PolicyFacts {
    /// From the object.
    #[must_use]
    pub fn new(object: &Object<PolicySpec, Nothing>) -> Self {
        let mode = Mode::deserialize(&object.spec.mode).unwrap_or_default();
        let mut policy = Policy { mode, ..Policy::default() };
        policy.hold.max_seconds = object.spec.hold.max_seconds.unwrap_or(policy.hold.max_seconds);
        Self { policy }
    }
}

/// What counts of a Deployment or a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadFacts {
    /// Its own label.
    pub label: Option<String>,
    /// The label of its template.
    pub template_label: Option<String>,
    /// Pods that it is to have.
    pub desired: u32,
    /// Pods that are ready.
    pub ready: u32,
}

/// The part of a workload's spec that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSpec {
    replicas: Option<u32>,
    template: Template,
    /// Which pods are its own.
    pub selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: ObjectMeta,
}

/// The part of a workload's status that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    ready_replicas: u32,
}

impl WorkloadFacts {
    /// From the object.
    #[must_use]
    pub fn new(object: &Object<WorkloadSpec, WorkloadStatus>) -> Self {
        Self {
            label: label(&object.metadata),
            template_label: label(&object.spec.template.metadata),
            // The API server fills 1 in.
            desired: object.spec.replicas.unwrap_or(1),
            ready: object.status.as_ref().map_or(0, |status| status.ready_replicas),
        }
    }
}

/// An upgrade as it says of itself. Its words are kept as they are: a newer controller has newer ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeFacts {
    /// Where it is.
    pub phase: String,
    /// Why it waits, in a word.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// Pods that are to have the revision.
    pub total: u32,
    /// Pods that have it and serve.
    pub updated: u32,
    /// The revision.
    pub target_revision: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it was complete.
    pub completed_at: Option<Timestamp>,
    /// Ordinals that are out of service.
    pub ordinals: Vec<ClaimFacts>,
}

/// An ordinal that is out of service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimFacts {
    /// The ordinal.
    pub ordinal: u32,
    /// Its pod.
    pub pod: String,
    /// Where it is.
    pub step: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it waits for.
    pub message: String,
}

/// No spec is read, whatever it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnySpec {}

impl UpgradeFacts {
    /// From the object.
    #[must_use]
    pub fn new(object: Object<AnySpec, Self>) -> Self {
        object.status.unwrap_or_default()
    }
}

/// Who made a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// As kubectl writes it: `statefulset`, `deployment`, or another kind in small letters.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What the metadata of a pod says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// UID.
    pub uid: String,
    /// Version.
    pub version: String,
    /// Its label.
    pub label: Option<String>,
    /// Who made it; itself where nobody did.
    pub owner: Owner,
    /// It was injected, by this policy where the annotation says so.
    pub injected: Option<Option<String>>,
    /// A hold keeps it, and not only a sleep.
    pub held: bool,
    /// Our finalizer is on it.
    pub has_finalizer: bool,
    /// Its deletion.
    pub deletion: Option<Deletion>,
    /// The grace that its author asked for.
    pub original_grace_seconds: u32,
    /// Why it is left alone, as far as metadata tells.
    pub skip: Option<Skip>,
    /// Who let it go by hand, and why, in a sentence.
    pub release: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Injected {
    policy: Option<String>,
}

impl PodFacts {
    /// From metadata.
    #[must_use]
    pub fn new(meta: &ObjectMeta) -> Self {
        let annotation = |name| meta.annotations.as_ref()?.get(name).map(String::as_str);
        let injected = annotation(ANNOTATION_INJECTED);
        let owner = owner(meta);
        let grace = meta.deletion_grace_period_seconds.unwrap_or(0);
        let grace = u32::try_from(grace).unwrap_or(0);
        let uid = meta.uid.clone().unwrap_or_default();
        Self {
            release: annotation(ANNOTATION_RELEASE)
                .and_then(|text| Release::read(text, &uid))
                .map(|release| release.words()),
            uid,
            version: meta.resource_version.clone().unwrap_or_default(),
            label: label(meta),
            injected: injected
                .map(|text| serde_json::from_str::<Injected>(text).unwrap_or_default().policy),
            held: is_held(injected),
            has_finalizer: has_finalizer(meta),
            deletion: meta.deletion_timestamp.as_ref().map(|at| Deletion::new(at.0, grace)),
            original_grace_seconds: annotation(ANNOTATION_ORIGINAL_GRACE)
                .and_then(|text| text.parse().ok())
                .unwrap_or(GRACE_SECONDS_DEFAULT),
            skip: skip(&SkipFacts {
                job_owned: owner.kind == "job",
                mirror: annotation("kubernetes.io/config.mirror").is_some(),
                ..SkipFacts::default()
            }),
            owner,
        }
    }
}

fn label(meta: &ObjectMeta) -> Option<String> {
    meta.labels.as_ref()?.get(POLICY_LABEL).cloned()
}

/// The workload of a pod. A Deployment's name is its ReplicaSet's without the hash of the template, which
/// saves reading the ReplicaSets.
#[must_use]
pub fn owner(meta: &ObjectMeta) -> Owner {
    let controller =
        meta.owner_references.iter().flatten().find(|one| one.controller == Some(true));
    let Some(controller) = controller else {
        return Owner { kind: "pod".to_owned(), name: meta.name.clone().unwrap_or_default() };
    };
    let hash = meta.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash
        .filter(|_| controller.kind == "ReplicaSet")
        .and_then(|hash| controller.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match deployment {
        Some(name) => Owner { kind: "deployment".to_owned(), name: name.to_owned() },
        None => Owner { kind: controller.kind.to_ascii_lowercase(), name: controller.name.clone() },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_belongs_to_the_workload_that_people_made() {
        let reference = |kind: &str, name: &str, controller: bool| {
            json!([{
                "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": controller,
            }])
        };
        let table = [
            (reference("ReplicaSet", "web-app-7d4b9c6f58", true), "deployment/web-app"),
            (reference("ReplicaSet", "by-hand", true), "replicaset/by-hand"),
            (reference("StatefulSet", "web", true), "statefulset/web"),
            (reference("CloneSet", "web", true), "cloneset/web"),
            (reference("ConfigMap", "web", false), "pod/web-0"),
            (json!([]), "pod/web-0"),
        ];
        for (owners, expected) in table {
            let meta: ObjectMeta = serde_json::from_value(json!({
                "name": "web-0", "labels": { "pod-template-hash": "7d4b9c6f58" },
                "ownerReferences": owners,
            }))
            .expect("metadata");
            let Owner { kind, name } = owner(&meta);
            assert_eq!(format!("{kind}/{name}"), expected);
        }
    }
}
