use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::sync::{is_bound, next_write};
use super::{Desired, desired, waits_for_gate};
use crate::clb::model::{LoadBalancer, Protocol};
use crate::clb::write::{Action, BACKENDS_MAX, apply, check};

/// Recorded from the lab: a Service of two ports, an Ingress of two paths, a pod of a StatefulSet that
/// is ready, and the one before it while it waited for the gate.
const SERVICE: &str = include_str!("recorded/service.json");
const INGRESS: &str = include_str!("recorded/ingress.json");
const POD: &str = include_str!("recorded/pod.json");
const WAITING_POD: &str = include_str!("recorded/pod-waiting.json");

fn changed<K: DeserializeOwned>(recorded: &str, change: &Value) -> K {
    let mut value = serde_json::from_str(recorded).unwrap();
    json_patch::merge(&mut value, change);
    serde_json::from_value(value).unwrap()
}

fn service(change: &Value) -> Service {
    changed(SERVICE, change)
}

fn pod(name: &str, last: u8, change: &Value) -> Pod {
    let named = json!({"metadata": {"name": name, "labels": {"pod": name}},
                       "status": {"podIP": format!("198.18.8.{last}")}});
    let named: Value = changed(POD, &named);
    changed(&named.to_string(), change)
}

fn waiting() -> Value {
    let pod: Value = serde_json::from_str(WAITING_POD).unwrap();
    json!({"status": {"conditions": pod["status"]["conditions"]}})
}

fn annotated(key: &str, value: &str) -> Value {
    json!({"metadata": {"annotations": {key: value}}})
}

/// Weights by listener port and the last byte of the pod's address; none where it is not synced.
fn weights(found: &Desired) -> BTreeMap<u16, Option<Vec<(u8, u32)>>> {
    let last = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    found
        .pools
        .iter()
        .map(|(key, rows)| {
            let rows = rows.as_ref();
            let rows = rows.map(|rows| rows.iter().map(|row| (last(row.ip), row.weight)).collect());
            (key.port, rows)
        })
        .collect()
}

fn of(service: Service, pods: &[Pod]) -> BTreeMap<u16, Option<Vec<(u8, u32)>>> {
    weights(&desired(&[service], &[], pods))
}

/// What it is, how the pod differs from a ready one, last bytes of addresses with weights.
type Case = (&'static str, Value, &'static [(u8, u32)]);

#[test]
fn pods_have_the_weight_of_their_state() {
    let terminating = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let mut for_another = waiting();
    for_another["spec"] = json!({"readinessGates": [{"conditionType": "other.example/gate"}]});
    let custom = |weight| annotated("service.cloud.tencent.com/custom-weight", weight);
    let cases: [Case; 10] = [
        ("ready", json!({}), &[(1, 10)]),
        ("terminating", terminating.clone(), &[(1, 0)]),
        ("not ready", not_ready, &[(1, 0)]),
        ("waits for us", waiting(), &[(1, 10)]),
        ("waits for another", for_another, &[(1, 0)]),
        ("custom-weight", custom("50"), &[(1, 50)]),
        ("custom-weight 0", custom("0"), &[(1, 0)]),
        ("no address", json!({"status": {"podIP": null}}), &[]),
        ("another app", json!({"metadata": {"labels": {"app": "other"}}}), &[]),
        ("another namespace", json!({"metadata": {"namespace": "other"}}), &[]),
    ];
    for (what, change, expected) in cases {
        let found = of(service(&json!({})), &[pod("web-0", 1, &change)]);
        assert_eq!(found[&80], Some(expected.to_vec()), "{what}");
    }
    let mut ending = custom("50");
    json_patch::merge(&mut ending, &terminating);
    let found = of(service(&json!({})), &[pod("web-0", 1, &ending)]);
    assert_eq!(found[&80], Some(vec![(1, 0)]), "terminating goes before custom-weight");
}

#[test]
fn lb_rs_weight_is_obeyed_per_port_and_ordinal() {
    const KEY: &str = "service.cloud.tencent.com/lb-rs-weight";
    let pods = [pod("web-0", 1, &json!({})), pod("web-1", 2, &json!({}))];
    let group = |port: u16, weight: u32| {
        json!({"key": {"proto": "TCP", "port": port}, "statefulSets":
            [{"name": "web", "weights": [{"weight": weight, "podIndexes": [0]}]}]})
    };
    let of = |value: &str| of(service(&annotated(KEY, value)), &pods);
    let one = of(&json!({"defaultWeight": 20, "groups": [group(80, 0)]}).to_string());
    assert_eq!(one[&80], Some(vec![(1, 0), (2, 20)]));
    assert_eq!(one[&443], Some(vec![(1, 20), (2, 20)]), "a port without a group has the default");
    for wrong in [
        "{not json".to_owned(),
        json!({"defaultWeight": 101}).to_string(),
        json!({"groups": [group(81, 0)]}).to_string(),
        json!({"groups": [group(80, 200)]}).to_string(),
    ] {
        let found = of(&wrong);
        assert_eq!((&found[&80], &found[&443]), (&None, &None), "nothing is synced: {wrong}");
    }
}

#[test]
fn services_that_are_not_ours() {
    let cases = [
        ("NodePort mode", annotated("service.cloud.tencent.com/direct-access", "false")),
        (
            "no load balancer yet",
            json!({"metadata": {"annotations":
            {"service.kubernetes.io/loadbalance-id": null}}}),
        ),
        ("inside", json!({"spec": {"type": "ClusterIP"}})),
    ];
    for (what, change) in cases {
        assert_eq!(of(service(&change), &[pod("web-0", 1, &json!({}))]), BTreeMap::new(), "{what}");
    }
}

#[test]
fn an_error_of_one_service_stops_that_one_alone() {
    let mut other = service(&json!({"metadata": {"name": "other", "annotations":
        {"service.kubernetes.io/loadbalance-id": "lb-b"}}}));
    other.spec.as_mut().unwrap().selector = Some([("pod".into(), "web-1".into())].into());
    let bad = annotated("service.cloud.tencent.com/custom-weight", "many");
    let pods = [pod("web-0", 1, &bad), pod("web-1", 2, &json!({}))];
    let found = desired(&[service(&json!({})), other], &[], &pods);
    let synced = |id: &str| {
        found
            .pools
            .iter()
            .filter(|(key, _)| key.load_balancer == id)
            .all(|(_, rows)| rows.is_some())
    };
    assert!(!synced("lb-a") && synced("lb-b"));
    assert_eq!(found.errors.len(), 1);
    let object = &found.errors[0].object;
    assert_eq!((object.kind.as_deref(), object.name.as_deref()), (Some("Service"), Some("web")));
}

#[test]
fn an_ingress_is_rules_on_a_listener() {
    let ingress: Ingress = changed(INGRESS, &json!({}));
    let inside = service(&json!({"spec": {"type": "ClusterIP"}}));
    let custom = annotated("ingress.cloud.tencent.com/custom-weight", "7");
    let found = desired(&[inside], &[ingress], &[pod("web-0", 1, &custom)]);
    let rules: Vec<_> = found
        .pools
        .iter()
        .map(|(key, rows)| {
            let row = &rows.as_ref().unwrap()[0];
            (key.protocol, key.rule.clone().unwrap().1, row.port, row.weight)
        })
        .collect();
    let http = Protocol::Http;
    assert_eq!(rules, [(http, "/".to_owned(), 8080, 7), (http, "/admin".to_owned(), 9000, 7)]);
}

fn load_balancer() -> LoadBalancer {
    serde_json::from_value(json!({"id": "lb-a", "listeners": [
        {"id": "lbl-80", "protocol": "TCP", "port": 80},
        {"id": "lbl-443", "protocol": "TCP", "port": 443},
    ]}))
    .unwrap()
}

#[test]
fn writes_bring_the_load_balancer_there_one_after_the_other() {
    let mut current = load_balancer();
    let mut steps = |service: Service, pods: &[Pod]| {
        let wanted = desired(&[service], &[], pods).pools;
        let mut actions = Vec::new();
        while let Some(write) = next_write(&current, &wanted) {
            check(&current, &write, BACKENDS_MAX).unwrap();
            apply(&mut current, &write, Timestamp::UNIX_EPOCH);
            actions.push(write.action);
            assert!(actions.len() < 50, "it ends: {actions:?}");
        }
        actions
    };
    let terminating = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let ok = || service(&json!({}));
    let many: Vec<Pod> = (1..=25).map(|last| pod(&format!("p-{last}"), last, &json!({}))).collect();
    use Action::{Deregister, Register, WeighBatch};
    assert_eq!(steps(ok(), &many[..1]), [Register, Register], "a write per listener");
    assert_eq!(steps(ok(), &many[..1]), []);
    let replaced = [pod("p-1", 1, &terminating), many[1].clone()];
    assert_eq!(
        steps(ok(), &replaced),
        [Register, Register, WeighBatch, WeighBatch],
        "up before down"
    );
    let bad = annotated("service.cloud.tencent.com/lb-rs-weight", "{");
    assert_eq!(steps(service(&bad), &[]), [], "an error leaves everything as it is");
    assert_eq!(steps(ok(), &many[1..2]), [Deregister, Deregister]);
    assert_eq!(steps(ok(), &many), [Register; 4], "twenty at a time");
}

#[test]
fn what_others_have_written_is_reverted() {
    let mut current = load_balancer();
    let pods = [pod("web-0", 1, &json!({}))];
    let wanted = desired(&[service(&json!({}))], &[], &pods).pools;
    while let Some(write) = next_write(&current, &wanted) {
        apply(&mut current, &write, Timestamp::UNIX_EPOCH);
    }
    current.listeners[0].targets[0].weight = 0;
    let write = next_write(&current, &wanted).unwrap();
    assert_eq!((write.action, write.parts[0].targets[0].weight), (Action::WeighBatch, Some(10)));
}

#[test]
fn a_gate_waits_until_the_pod_is_bound() {
    let pods = [pod("web-0", 1, &waiting())];
    assert!(waits_for_gate(&pods[0]));
    let wanted = desired(&[service(&json!({}))], &[], &pods).pools;
    let mut current = load_balancer();
    let bound = |current: &LoadBalancer| {
        wanted.iter().all(|(key, rows)| is_bound(current, key, &rows.as_ref().unwrap()[0]))
    };
    let first = next_write(&current, &wanted).unwrap();
    apply(&mut current, &first, Timestamp::UNIX_EPOCH);
    assert!(!bound(&current), "one of two listeners is not enough");
    let second = next_write(&current, &wanted).unwrap();
    apply(&mut current, &second, Timestamp::UNIX_EPOCH);
    assert!(bound(&current));
    assert!(!waits_for_gate(&pod("web-0", 1, &json!({}))), "the recorded pod is bound");
}
