use std::collections::BTreeMap;

use super::*;
use crate::inject::{self, view::Pod};
use crate::names::HOLD_CONTAINER;
use crate::policy::Policy;

const FACTS: CensusFacts<'_> = CensusFacts {
    image: "registry.example/hold:1",
    name: "lameduck-count-1",
    until: Until::ConnectionsIdle,
    max_seconds: 900,
    idle_seconds: 60,
    ports: &[8080, 9090],
    pod_user: None,
    host_network: false,
};

/// The init container that the webhook injects into a pod of this user.
fn injected(user: Option<i64>) -> Value {
    let mut pod = json!({"metadata": {"labels": {}}, "spec": {"containers": [{"name": "app"}]}});
    if let Some(user) = user {
        pod["spec"]["securityContext"] = json!({"runAsUser": user});
    }
    let text = pod.to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    let policies = BTreeMap::from([("default".to_owned(), Policy::default())]);
    let settings = inject::Settings { hold_image: FACTS.image.to_owned(), version: "1".to_owned() };
    let context = inject::Context {
        namespace: "shop",
        namespace_policy: Some("default"),
        policies: &policies,
        settings: &settings,
    };
    let plan = serde_json::to_value(inject::plan_pod(&pod, &context).operations).unwrap();
    let values = plan.as_array().unwrap().iter().map(|operation| &operation["value"]);
    values
        .flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice))
        .find(|value| value["name"] == HOLD_CONTAINER && !value["image"].is_null())
        .unwrap()
        .clone()
}

#[test]
fn the_container_is_as_safe_as_the_injected_one() {
    for pod_user in [None, Some(0), Some(1000)] {
        let ours = container(&CensusFacts { pod_user, ..FACTS }).unwrap();
        let theirs = injected(pod_user);
        for member in ["securityContext", "imagePullPolicy", "image"] {
            assert_eq!(ours[member], theirs[member], "{member}");
        }
        assert_eq!(ours["command"][0], theirs["command"][0]);
    }
}

#[test]
fn the_container_has_nothing_that_an_ephemeral_one_must_not_have() {
    let ours = container(&FACTS).unwrap();
    let members: Vec<_> = ours.as_object().unwrap().keys().map(String::as_str).collect();
    let allowed = [
        "command",
        "image",
        "imagePullPolicy",
        "name",
        "securityContext",
        "terminationMessagePolicy",
    ];
    assert_eq!(members, allowed);
    let security = &ours["securityContext"];
    assert_eq!(
        *security,
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
}

#[test]
fn the_command_says_what_is_waited_for() {
    let command = |facts: &CensusFacts<'_>| {
        let container = container(facts)?;
        let words = container["command"].as_array().unwrap().iter();
        Some(words.map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" "))
    };
    let until = |until| CensusFacts { until, ports: &[], ..FACTS };
    let table = [
        (
            FACTS,
            Some("ConnectionsIdle --max-seconds 900 --idle-seconds 60 --port 8080 --port 9090"),
        ),
        (
            until(Until::ConnectionsClosed),
            Some("ConnectionsClosed --max-seconds 900 --idle-seconds 60"),
        ),
        (until(Until::TrafficOff), None),
        (until(Until::Off), None),
        // What listens on a node is not the pod's.
        (CensusFacts { host_network: true, ports: &[], ..FACTS }, None),
        (
            CensusFacts { host_network: true, ports: &[80], ..FACTS },
            Some("ConnectionsIdle --max-seconds 900 --idle-seconds 60 --port 80"),
        ),
    ];
    for (facts, expected) in table {
        let expected = expected.map(|words| format!("/lameduck-hold count --until {words}"));
        assert_eq!(command(&facts), expected, "{facts:?}");
    }
}

#[test]
fn names_are_never_used_twice() {
    let table: [(&[&str], &str, Option<&str>); 6] = [
        (&[], "lameduck-count-1", None),
        (&["debugger-x", "lameduck-count", "lameduck-count-x"], "lameduck-count-1", None),
        (&["lameduck-count-1"], "lameduck-count-2", Some("lameduck-count-1")),
        (
            &["lameduck-count-9", "lameduck-count-10", "lameduck-count-2"],
            "lameduck-count-11",
            Some("lameduck-count-10"),
        ),
        (
            &["lameduck-count-4294967295"],
            "lameduck-count-4294967296",
            Some("lameduck-count-4294967295"),
        ),
        (&["lameduck-count-99999999999999999999"], "lameduck-count-1", None),
    ];
    for (existing, next, last) in table {
        assert_eq!(next_name(existing), next);
        assert_eq!(latest(existing), last);
        assert!(!existing.contains(&next));
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Counting,
    Closed,
    Left,
    Cannot,
}

fn at(state: CensusState<'_>, seconds: i64) -> (Kind, String) {
    let added = Timestamp::UNIX_EPOCH;
    let now = Timestamp::from_second(seconds).unwrap();
    match outcome(&CensusStatus { state, added, max_seconds: 900 }, now) {
        Outcome::Counting(why) => (Kind::Counting, why),
        Outcome::Closed(why) => (Kind::Closed, why),
        Outcome::Left(why) => (Kind::Left, why),
        Outcome::Cannot(why) => (Kind::Cannot, why),
    }
}

#[test]
fn a_count_that_does_not_start_is_given_up() {
    let waiting = |reason| CensusState::Waiting { reason, message: "back-off\npulling image" };
    let table = [
        // (state, the last second at which it is waited for)
        (CensusState::Unknown, 300),
        (waiting(""), 300),
        (waiting("ContainerCreating"), 300),
        (waiting("PodInitializing"), 300),
        (waiting("ErrImagePull"), 60),
        (waiting("ImagePullBackOff"), 60),
        (waiting("InvalidImageName"), 60),
        (waiting("ErrImageNeverPull"), 60),
        (waiting("CreateContainerConfigError"), 60),
        (waiting("CreateContainerError"), 60),
        (waiting("RunContainerError"), 60),
        (waiting("SomethingNew"), 60),
    ];
    for (state, last) in table {
        // By another clock it was added in the future.
        for (seconds, expected) in [
            (-5, Kind::Counting),
            (0, Kind::Counting),
            (last, Kind::Counting),
            (last + 1, Kind::Cannot),
        ] {
            let (kind, why) = at(state, seconds);
            assert_eq!(kind, expected, "{state:?} at {seconds} s: {why}");
            assert!(why.contains(&format!("{} s", seconds.max(0))), "{why}");
        }
    }
    let (_, why) = at(waiting("ErrImagePull"), 61);
    assert!(why.ends_with("61 s: ErrImagePull: back-off pulling image"), "{why}");
}

#[test]
fn a_count_that_runs_has_its_time_and_no_more() {
    let since = Timestamp::from_second(100).unwrap();
    for (seconds, expected) in
        [(90, Kind::Counting), (100, Kind::Counting), (1060, Kind::Counting), (1061, Kind::Cannot)]
    {
        let (kind, why) = at(CensusState::Running { since }, seconds);
        assert_eq!(kind, expected, "at {seconds} s: {why}");
    }
}

#[test]
fn only_exit_code_0_is_a_proof() {
    let table = [
        (0, "connections closed after 12.3 s", Kind::Closed, "connections closed after 12.3 s"),
        (0, "", Kind::Closed, "connections have ended"),
        (3, "2 connections left after 900 s\n", Kind::Left, "2 connections left after 900 s"),
        (3, " ", Kind::Left, "connections are left"),
        (
            4,
            "connections cannot be counted: denied",
            Kind::Cannot,
            "the count ended with exit code 4: connections cannot be counted: denied",
        ),
        // An older image that has no count; SIGTERM; killed; lost by the kubelet.
        (2, "", Kind::Cannot, "the count ended with exit code 2: it left no message"),
        (143, "", Kind::Cannot, "the count ended with exit code 143: it left no message"),
        (137, "", Kind::Cannot, "the count ended with exit code 137: it left no message"),
        (-1, "", Kind::Cannot, "the count ended with exit code -1: it left no message"),
    ];
    for (exit_code, message, kind, why) in table {
        let ended = CensusState::Terminated { exit_code, message };
        // The time does not matter any more.
        for seconds in [0, 100_000] {
            assert_eq!(at(ended, seconds), (kind, why.to_owned()));
        }
    }
    let long = "é".repeat(600);
    let (_, why) = at(CensusState::Terminated { exit_code: 0, message: &long }, 0);
    assert_eq!(why.chars().count(), 513);
}
