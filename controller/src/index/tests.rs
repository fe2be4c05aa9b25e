//! Tests of the index: apply, delete, reset, and what facts come of it.

use std::collections::HashSet;
use std::time::Duration;

use lameduck_core::drain::{ConditionStatus, Containers, NodeState, Others};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::slim;

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A pod with what `change` does to it.
fn pod(name: &str, change: impl FnOnce(&mut Value)) -> slim::Pod {
    let mut pod = json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1",
            "labels": { "app": "web", "tier": "front", "lameduck.dev/policy": "slow" },
            "annotations": {
                "lameduck.dev/injected": "0.1.0",
                "lameduck.dev/original-termination-grace-period-seconds": "45",
            },
            "finalizers": ["other.example/one", "lameduck.dev/drain"],
        },
        "spec": { "nodeName": "n-1" },
        "status": {
            "phase": "Running", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }],
            "hostIPs": [{ "ip": "10.9.0.1" }],
            "containerStatuses": [{ "state": { "running": {} } }],
        },
    });
    change(&mut pod);
    parse(pod)
}

fn deleted(grace_seconds: i64) -> impl FnOnce(&mut Value) {
    move |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:15:40Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_seconds);
    }
}

fn service(name: &str, selector: Value) -> slim::Service {
    parse(json!({
        "metadata": { "namespace": "shop", "name": name }, "spec": { "selector": selector },
    }))
}

fn slice(name: &str, service: Option<&str>, endpoints: Value) -> slim::EndpointSlice {
    let labels = service.map(|service| json!({ "kubernetes.io/service-name": service }));
    parse(json!({
        "metadata": {
            "namespace": "shop", "name": name, "labels": labels.unwrap_or_else(|| json!({})),
        },
        "endpoints": endpoints,
    }))
}

fn key(name: &str) -> PodKey {
    PodKey::new("shop", name)
}

/// An index whose watches are all fresh.
fn index() -> Index {
    let mut index = Index::default();
    for kind in Kind::ALL {
        index.watch_synced(kind, Instant::now());
    }
    index
}

fn dirty(index: &mut Index) -> Vec<String> {
    let mut names: Vec<String> =
        std::mem::take(&mut index.dirty).into_iter().map(|key| key.name.to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_pods_facts_are_what_the_object_says() {
    let mut index = index();
    index.apply_node(&parse(json!({
        "metadata": { "name": "n-1" },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    })));
    let mut policy = Policy::default();
    policy.hold.max_seconds = 77;
    index.apply_policy("slow", policy);
    index.apply_pod(pod("web-0", |pod| {
        deleted(940)(pod);
        pod["status"]["conditions"] = json!([
            { "type": "Ready", "status": "False" },
            { "type": "lameduck.dev/TrafficOff", "status": "True", "reason": "NotSelected",
              "message": "m", "lastTransitionTime": "2026-01-01T00:00:05Z" },
        ]);
    }));
    let known = index.pod(&key("web-0")).unwrap();
    assert_eq!(known.finalizer_at, Some(1));
    assert!(known.is_managed());
    let (facts, _) = index.facts(&key("web-0"), Instant::now()).unwrap();
    assert_eq!(facts.original_grace_seconds, 45);
    assert_eq!(facts.containers, Containers::Running);
    assert_eq!(facts.node, NodeState::Ready);
    assert_eq!(facts.policy.hold.max_seconds, 77);
    let deletion = facts.deletion.unwrap();
    assert_eq!(deletion.requested_at, "2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(facts.traffic_off.unwrap().status, ConditionStatus::True);

    // The policy goes: pods that were injected by it end by the default one.
    index.delete_policy("slow");
    let (facts, _) = index.facts(&key("web-0"), Instant::now()).unwrap();
    assert_eq!(*facts.policy, Policy::default());
}

#[test]
fn containers_run_until_nobody_says_so() {
    let running = json!({ "state": { "running": {} } });
    let ended = json!({ "state": { "terminated": { "exitCode": 0 } } });
    let waiting = json!({ "state": { "waiting": { "reason": "ContainerCreating" } } });
    let crashing =
        json!({ "state": { "waiting": {} }, "lastState": { "terminated": { "exitCode": 1 } } });
    let none: [&Value; 0] = [];
    let table: [(&str, &[&Value], &[&Value], Containers); 9] = [
        ("Running", &none, &[&running], Containers::Running),
        ("Running", &none, &[&ended, &running], Containers::Running),
        ("Running", &none, &[&ended, &ended], Containers::Ended),
        ("Running", &none, &[&crashing], Containers::Ended),
        // A sidecar runs on after the last regular container.
        ("Running", &[&running], &[&ended], Containers::Running),
        ("Pending", &[&running], &[&waiting], Containers::Running),
        ("Pending", &none, &[&waiting], Containers::NeverStarted),
        // Nobody has said anything: it may run.
        ("Running", &none, &[], Containers::Running),
        ("Failed", &none, &[&running], Containers::Ended),
    ];
    for (row, (phase, init, regular, expected)) in table.into_iter().enumerate() {
        let mut index = index();
        index.apply_pod(pod("web-0", |pod| {
            pod["status"]["phase"] = json!(phase);
            pod["status"]["initContainerStatuses"] = json!(init);
            pod["status"]["containerStatuses"] = json!(regular);
        }));
        assert_eq!(index.pod(&key("web-0")).unwrap().containers, expected, "row {row}");
    }
}

#[test]
fn endpoints_are_found_by_selector_by_name_and_by_address() {
    let mut index = index();
    index.apply_pod(pod("web-0", |_| {}));
    index.apply_service(&service("web", json!({ "app": "web" })));
    index.apply_service(&service("front", json!({ "app": "web", "tier": "front" })));
    index.apply_service(&service("other", json!({ "app": "web", "tier": "back" })));
    index.apply_service(&service("none", json!({})));
    index.apply_slice(&slice(
        "a",
        Some("web"),
        json!([
            { "addresses": ["10.0.0.1"], "conditions": { "ready": false, "terminating": true },
              "targetRef": { "kind": "Pod", "name": "web-0" } },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": true },
              "targetRef": { "kind": "Pod", "name": "web-1" } },
        ]),
    ));
    // Written by hand: no Service, no target, and no `ready`, which counts as ready.
    index.apply_slice(&slice("b", None, json!([{ "addresses": ["fd00::1"] }])));
    index.apply_slice(&slice("c", Some("empty"), Value::Null));
    let (_, endpoints) = index.facts(&key("web-0"), Instant::now()).unwrap();
    let mut services: Vec<&str> = endpoints.services.iter().map(|s| &*s.name).collect();
    services.sort_unstable();
    assert_eq!(services, ["shop/front", "shop/web"]);
    let mut entries: Vec<(&str, bool)> =
        endpoints.entries.iter().map(|e| (&*e.service, e.takes_traffic())).collect();
    entries.sort_unstable();
    assert_eq!(entries, [("shop/b", true), ("shop/web", false)]);

    index.delete_slice("shop", "b");
    index.delete_service("shop", "front");
    let (_, endpoints) = index.facts(&key("web-0"), Instant::now()).unwrap();
    assert_eq!((endpoints.services.len(), endpoints.entries.len()), (1, 1));
}

#[test]
fn what_a_service_has_besides_a_pod_is_read_from_slices_and_pods() {
    let mut index = index();
    index.apply_pod(pod("web-0", deleted(940)));
    index.apply_service(&service("web", json!({ "app": "web" })));
    let others = |index: &Index| {
        let (_, endpoints) = index.facts(&key("web-0"), Instant::now()).unwrap();
        endpoints.services[0].others
    };
    let entry = |name: &str, conditions: Value| {
        json!({ "addresses": ["10.0.0.2"], "conditions": conditions,
            "targetRef": { "kind": "Pod", "name": name } })
    };
    let own = entry("web-0", json!({ "ready": false, "serving": true, "terminating": true }));
    let ending = entry("web-1", json!({ "ready": false, "serving": true, "terminating": true }));
    index.apply_slice(&slice("a", Some("web"), json!([own, ending])));
    assert_eq!(others(&index), Others::Absent);
    let (_, endpoints) = index.facts(&key("web-0"), Instant::now()).unwrap();
    assert!(endpoints.entries[0].serving && !endpoints.entries[0].takes_traffic());

    // The passive half of a pair: old, and not ready. Then one that was made now, and has no address yet.
    let made = |name: &str, at: &str| {
        let at = at.to_owned();
        pod(name, move |pod| pod["metadata"]["creationTimestamp"] = json!(at))
    };
    let waits = entry("passive", json!({ "ready": false, "serving": false }));
    index.apply_slice(&slice("b", Some("web"), json!([waits])));
    index.apply_pod(made("passive", "2025-12-31T00:00:00Z"));
    assert_eq!(others(&index), Others::Absent);
    index.apply_pod(made("web-2", "2026-01-01T00:00:01Z"));
    assert_eq!(others(&index), Others::Starting);
    let ready = entry("web-2", json!({ "ready": true }));
    index.apply_slice(&slice("c", Some("web"), json!([ready])));
    assert_eq!(others(&index), Others::Ready);
    // One that does not serve is nobody's last.
    let silent = entry("web-0", json!({ "ready": false, "serving": false, "terminating": true }));
    index.apply_slice(&slice("a", Some("web"), json!([silent])));
    assert_eq!(others(&index), Others::Absent);
}

#[test]
fn only_pods_that_end_and_are_ours_are_looked_at() {
    let mut index = index();
    index.apply_pod(pod("stays", |_| {}));
    index.apply_pod(pod("foreign", |pod| {
        deleted(30)(pod);
        pod["metadata"]["finalizers"] = json!([]);
        pod["metadata"]["annotations"] = json!({});
    }));
    index.apply_pod(pod("ends", deleted(940)));
    assert_eq!(dirty(&mut index), ["ends"]);
    let about = |name: &str| json!([{ "targetRef": { "kind": "Pod", "name": name } }]);
    index.apply_slice(&slice("a", Some("web"), about("stays")));
    assert_eq!(dirty(&mut index), Vec::<String>::new());
    index.apply_slice(&slice("a", Some("web"), about("ends")));
    assert_eq!(dirty(&mut index), ["ends"]);
    index.apply_slice(&slice("a", Some("web"), json!([])));
    assert_eq!(dirty(&mut index), ["ends"], "it has left the slice");
    index.apply_slice(&slice("b", None, json!([{ "addresses": ["10.0.0.1"] }])));
    assert_eq!(dirty(&mut index), ["ends"], "an address may be anybody's");
    index.delete_node("n-1");
    assert_eq!(dirty(&mut index), ["ends"]);
    index.delete_node("n-2");
    index.apply_service(&parse(json!({ "metadata": { "namespace": "else", "name": "web" } })));
    assert_eq!(dirty(&mut index), Vec::<String>::new());
    index.delete_pod(&key("ends"));
    index.touch_all();
    assert_eq!(dirty(&mut index), Vec::<String>::new());
    assert_eq!(index.terminating_len(), 0);
}

#[test]
fn a_complete_list_removes_what_it_does_not_name() {
    let mut index = index();
    index.apply_pod(pod("web-0", deleted(940)));
    index.apply_pod(pod("web-1", |_| {}));
    index.apply_service(&service("web", json!({ "app": "web" })));
    index.apply_slice(&slice("a", Some("web"), json!([])));
    let listed = HashSet::from([("shop".to_owned(), "web-1".to_owned())]);
    index.retain(Kind::Pods, &listed);
    assert!(index.pod(&key("web-0")).is_none() && index.pod(&key("web-1")).is_some());
    assert_eq!(index.terminating_len(), 0);
    index.retain(Kind::Services, &HashSet::new());
    index.retain(Kind::EndpointSlices, &HashSet::new());
    let (_, endpoints) = index.facts(&key("web-1"), Instant::now()).unwrap();
    assert!(endpoints.services.is_empty() && endpoints.entries.is_empty());
}

#[test]
fn a_later_shorter_delete_keeps_the_first_grace_but_a_successor_does_not() {
    let mut index = index();
    index.apply_pod(pod("web-0", deleted(940)));
    index.apply_pod(pod("web-0", deleted(0)));
    let deletion = index.pod(&key("web-0")).unwrap().deletion.unwrap();
    assert_eq!((deletion.grace_seconds, deletion.forced), (940, true));
    index.apply_pod(pod("web-0", |pod| {
        deleted(30)(pod);
        pod["metadata"]["uid"] = json!("a successor");
    }));
    assert_eq!(index.pod(&key("web-0")).unwrap().deletion.unwrap().grace_seconds, 30);
}

#[test]
fn a_call_that_returns_after_the_pods_end_brings_nothing_back() {
    let mut index = index();
    index.apply_pod(pod("web-0", deleted(940)));
    index.delete_pod(&key("web-0"));
    index.apply_known_pod(pod("web-0", deleted(940)));
    assert!(index.pod(&key("web-0")).is_none());
    index.apply_pod(pod("web-0", |pod| pod["metadata"]["uid"] = json!("a successor")));
    index.apply_known_pod(pod("web-0", deleted(940)));
    assert_eq!(&*index.pod(&key("web-0")).unwrap().uid, "a successor");
}

#[tokio::test(start_paused = true)]
async fn a_silent_or_broken_watch_is_stale_and_its_return_is_looked_at() {
    let mut index = index();
    index.apply_pod(pod("web-0", deleted(940)));
    dirty(&mut index);
    let stale = |index: &Index| {
        let (_, endpoints) = index.facts(&key("web-0"), Instant::now())?;
        endpoints.stale.map(|stale| stale.why)
    };
    assert_eq!(stale(&index), None);
    index.watch_broken(Kind::Services, Instant::now());
    assert_eq!(index.health(Kind::Services).unready(Instant::now()), None);
    let later = Instant::now() + BROKEN_MAX + Duration::from_secs(1);
    assert!(index.health(Kind::Services).unready(later).is_some());
    assert_eq!(stale(&index).unwrap(), "the watch of services is broken and being resumed");
    assert_eq!(dirty(&mut index), ["web-0"]);
    index.watch_alive(Kind::Services, Instant::now());
    assert_eq!(stale(&index), None);
    assert_eq!(dirty(&mut index), ["web-0"]);
    tokio::time::advance(SILENCE_MAX + Duration::from_secs(1)).await;
    assert!(stale(&index).unwrap().contains("silent"));
    // Nodes are stale too: nobody is called dead by an old list.
    let (facts, _) = index.facts(&key("web-0"), Instant::now()).unwrap();
    assert_eq!(facts.node, NodeState::Unknown);
}

#[test]
fn a_host_network_pod_calls_from_its_nodes_address() {
    let mut index = index();
    index.apply_pod(pod("web-0", |pod| pod["spec"]["hostNetwork"] = json!(true)));
    index.apply_pod(pod("web-1", |_| {}));
    let node = "10.9.0.1".parse().unwrap();
    assert!(Index::is_pods_own(index.pod(&key("web-0")).unwrap(), node, false));
    let pod = index.pod(&key("web-1")).unwrap();
    assert!(!Index::is_pods_own(pod, node, false));
    assert!(Index::is_pods_own(pod, node, true));
    assert!(Index::is_pods_own(pod, "fd00::1".parse().unwrap(), false));
}

#[test]
fn a_call_that_returns_late_does_not_overwrite_what_the_watch_told_since() {
    let mut index = index();
    let versioned = |version: &'static str, tier: &'static str| {
        pod("web-0", |pod| {
            pod["metadata"]["resourceVersion"] = json!(version);
            pod["metadata"]["annotations"]["lameduck.dev/original-termination-grace-period-seconds"] =
                json!(tier);
        })
    };
    index.apply_pod(versioned("10", "1"));
    for (version, mark, expected) in
        [("9", "2", 1), ("10", "3", 1), ("11", "4", 4), ("100", "5", 5), ("99", "6", 5)]
    {
        index.apply_known_pod(versioned(version, mark));
        let known = index.pod(&key("web-0")).unwrap().original_grace_seconds;
        assert_eq!(known, expected, "{version}");
    }
}

#[test]
fn nothing_is_kept_for_who_waits_for_pods_that_are_not_there() {
    let mut index = index();
    for number in 0..1000 {
        assert!(index.waiter(&key(&format!("none-{number}"))).is_none());
    }
    assert!(index.waiters.is_empty());
    index.apply_pod(pod("web-0", |_| {}));
    let waiter = index.waiter(&key("web-0"));
    assert!(waiter.is_some() && index.waiters.len() == 1);
    index.delete_pod(&key("web-0"));
    assert!(index.waiters.is_empty());
}
