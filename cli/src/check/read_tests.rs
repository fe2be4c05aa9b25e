//! Facts of recorded objects.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::core::v1::Secret;
use kube::core::{DynamicObject, ObjectMeta};
use lameduck_core::policy::Policy;
use serde_json::{Value, json};

use super::facts::Certificate;
use super::read::{self, Rules};
use crate::common::policies::Policies;

const NAMESPACE: &str = "upgrade-old-pods-e0cd0-lameduck";
const POLICY: &str = "lab-upgrade-old-pods-e0cd0";

fn recorded(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("recorded YAML")
}

fn set() -> Value {
    recorded(include_str!("../../tests/recorded/statefulset.yaml"))
}

fn pods() -> Vec<Value> {
    let list = recorded(include_str!("../../tests/recorded/pods.yaml"));
    list["items"].as_array().expect("a list").clone()
}

/// Looks with a namespace that has this label, and the policy of the recording.
fn looked<T>(label: Option<&str>, look: impl FnOnce(Rules<'_>) -> T) -> T {
    let known = BTreeMap::from([(POLICY.to_owned(), Policy::default())]);
    let unreadable = BTreeMap::from([("newer".to_owned(), "a newer field".to_owned())]);
    let policies = Policies { known, unreadable };
    let namespaces = BTreeMap::from([(NAMESPACE.to_owned(), label.map(str::to_owned))]);
    look(Rules { policies: &policies, namespaces: &namespaces })
}

fn workload(kind: &'static str, object: Value, label: Option<&str>) -> super::facts::Workload {
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    looked(label, |rules| read::workload(kind, &object, rules)).expect("a workload")
}

#[test]
fn a_set_is_judged_where_a_policy_is_enforced() {
    let enrolled = workload("statefulset", set(), Some(POLICY));
    assert_eq!(enrolled.enforced.as_deref(), Some(POLICY));
    assert_eq!((enrolled.replicas, enrolled.recreates, enrolled.host_network), (3, false, false));
    assert_eq!((enrolled.unprobed, enrolled.warnings), (vec![], vec![]));
    for label in [None, Some("none"), Some("gone"), Some("newer")] {
        assert_eq!(workload("statefulset", set(), label).enforced, None, "{label:?}");
    }
}

#[test]
fn what_cannot_be_lossless_is_seen() {
    let mut one = set();
    one["metadata"]["annotations"]["lameduck.dev/original-replicas"] = json!("1");
    one["spec"]["strategy"] = json!({"type": "Recreate"});
    let template = &mut one["spec"]["template"]["spec"];
    template["hostNetwork"] = json!(true);
    template["containers"][0]["ports"] = Value::Null;
    template["containers"][0]["readinessProbe"] = Value::Null;
    template["containers"][0]["volumeMounts"] = json!([{"name": "x", "mountPath": "/lameduck"}]);
    let seen = workload("deployment", one, Some(POLICY));
    assert_eq!((seen.replicas, seen.recreates, seen.host_network), (1, true, true));
    assert_eq!(seen.unprobed, ["nginx"]);
    assert_eq!(seen.warnings.len(), 1);
    assert!(seen.warnings[0].contains("/lameduck"), "{:?}", seen.warnings);
}

#[test]
fn pods_that_are_injected_need_no_second_look() {
    for object in pods() {
        let pod: core_v1::Pod = serde_json::from_value(object).expect("a pod");
        looked(Some(POLICY), |rules| {
            assert!(!read::needs_details(&pod.metadata, rules));
            let seen = read::details(&pod, rules);
            assert!(!seen.is_unprotected && seen.ending.is_none());
            assert_eq!(seen.owner.as_deref(), Some("statefulset/web"));
        });
    }
}

#[test]
fn a_pod_without_injection_is_unprotected_unless_it_cannot_be_helped() {
    let mut object = pods().remove(0);
    object["metadata"]["annotations"] = json!({});
    let look = |object: &Value, label| {
        let pod: core_v1::Pod = serde_json::from_value(object.clone()).expect("a pod");
        looked(label, |rules| read::details(&pod, rules).is_unprotected)
    };
    assert!(look(&object, None));
    object["metadata"]["labels"] = json!({});
    assert!(look(&object, Some(POLICY)));
    assert!(!look(&object, None));
    object["spec"]["restartPolicy"] = json!("Never");
    assert!(!look(&object, Some(POLICY)));
}

#[test]
fn a_deleted_pod_is_over_when_nothing_of_it_runs() {
    let mut object = pods().remove(0);
    object["metadata"]["deletionTimestamp"] = json!("2026-11-22T15:00:30Z");
    object["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    let look = |object: &Value| {
        let pod: core_v1::Pod = serde_json::from_value(object.clone()).expect("a pod");
        looked(Some(POLICY), |rules| read::details(&pod, rules).ending).expect("it ends")
    };
    let ending = look(&object);
    assert!(ending.runs && ending.off_since.is_none());
    assert_eq!(ending.deleted_at.to_string(), "2026-11-22T15:00:00Z");
    assert_eq!(ending.give_up_seconds, Some(900));

    object["status"]["containerStatuses"][0]["state"] =
        json!({"terminated": {"exitCode": 0, "finishedAt": "2026-11-22T15:00:20Z"}});
    object["status"]["conditions"] = json!([{
        "type": "lameduck.dev/TrafficOff", "status": "True",
        "lastTransitionTime": "2026-11-22T15:00:10Z",
    }]);
    let ending = look(&object);
    assert!(!ending.runs);
    assert_eq!(ending.ended_at.expect("ended").to_string(), "2026-11-22T15:00:20Z");
    assert_eq!(ending.off_since.expect("off").to_string(), "2026-11-22T15:00:10Z");
}

#[test]
fn an_upgrade_is_read_as_it_was_recorded() {
    let text = include_str!("../../tests/recorded/upgrade-progressing.yaml");
    let seen = read::upgrade(&serde_saphyr::from_str(text).expect("an upgrade"));
    assert_eq!(seen.name, "web");
    assert_eq!(seen.phase, Some(lameduck_core::upgrade::object::Phase::Progressing));
    assert!(!seen.is_paused && seen.message.contains("web-2"));
}

#[test]
fn a_certificate_says_when_it_ends_and_garbage_is_told() {
    let secret = |text: &str| {
        let data = json!({"metadata": ObjectMeta::default(), "data": {}});
        let mut secret: Secret = serde_json::from_value(data).expect("a Secret");
        let bytes = k8s_openapi::ByteString(text.as_bytes().to_vec());
        secret.data = Some(BTreeMap::from([("tls.crt".to_owned(), bytes)]));
        read::certificate(&secret)
    };
    let expired = include_str!("../../tests/recorded/expired.pem");
    let until = "2020-01-31T00:00:00Z".parse().expect("a timestamp");
    assert_eq!(secret(expired), Certificate::Until(until));
    for garbage in [
        "",
        "garbage",
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(matches!(secret(garbage), Certificate::Unreadable(_)), "{garbage:?}");
    }
    assert!(matches!(read::certificate(&Secret::default()), Certificate::Unreadable(_)));
}

#[test]
fn nothing_is_judged_by_a_policy_that_cannot_be_read() {
    for mut pod in pods() {
        pod["metadata"]["labels"]["lameduck.dev/policy"] = json!("newer");
        pod["metadata"]["annotations"] = Value::Null;
        pod["metadata"]["finalizers"] = json!(["lameduck.dev/drain"]);
        let bare: core_v1::Pod = serde_json::from_value(pod.clone()).expect("a pod");
        assert!(!looked(None, |rules| read::needs_details(&bare.metadata, rules)));
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-22T12:00:00Z");
        let ended: core_v1::Pod = serde_json::from_value(pod).expect("a pod");
        let seen = looked(None, |rules| read::details(&ended, rules));
        assert_eq!(seen.ending.expect("an end").give_up_seconds, None);
    }
}

#[test]
fn a_replica_set_of_nobody_is_no_deployment() {
    let mut pod = pods().swap_remove(0);
    let owner = &mut pod["metadata"]["ownerReferences"][0];
    owner["kind"] = json!("ReplicaSet");
    owner["name"] = json!("web-a");
    let owner = |pod: &Value| {
        let metadata: ObjectMeta =
            serde_json::from_value(pod["metadata"].clone()).expect("metadata");
        read::pod(&metadata).owner
    };
    assert_eq!(owner(&pod), None);
    pod["metadata"]["labels"]["pod-template-hash"] = json!("a");
    assert_eq!(owner(&pod).as_deref(), Some("deployment/web"));
}
