//! Pods.

use std::collections::BTreeSet;

use lameduck_core::{
    inject::{Outcome, Plan, plan_pod, view::Pod},
    names::{FINALIZER, POLICY_LABEL},
    policy::Policy,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use crate::{any_policy, apply, in_shop, qos::qos};

fn plan(pod: &Value, policy: &Policy) -> Plan {
    let text = pod.to_string();
    let view: Pod<'_> = serde_json::from_str(&text).unwrap();
    in_shop(policy, Some("default"), |context| plan_pod(&view, context))
}

/// An object of those members that are there; a missing one is now and then an explicit `null`.
fn object(members: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

fn any_handler() -> impl Strategy<Value = Value> {
    prop_oneof![
        vec("[a-z /$()]{0,8}", 0..4).prop_map(|command| json!({"exec": {"command": command}})),
        (0..900_i64).prop_map(|seconds| json!({"sleep": {"seconds": seconds}})),
        (
            select(vec![json!(8080), json!("http"), json!("9090"), json!("nowhere"), json!(0)]),
            select(vec!["HTTP", "HTTPS", ""]),
            "[a-z/?=]{0,6}",
            select(vec!["", "10.0.0.1", "fd00::1"])
        )
            .prop_map(|(port, scheme, path, host)| json!({"httpGet":
                {"port": port, "scheme": scheme, "path": path, "host": host,
                 "httpHeaders": [{"name": "A", "value": "b: c"}]}})),
        Just(json!({"tcpSocket": {"port": 1}})),
        Just(json!({})),
    ]
}

fn any_amounts() -> impl Strategy<Value = Value> {
    let amount = || option::of(select(vec!["0", "1", "2"]).prop_map(Value::from));
    (amount(), amount()).prop_map(|(cpu, memory)| object([("cpu", cpu), ("memory", memory)]))
}

/// Requests are at most the limits, as the API demands.
fn any_resources() -> impl Strategy<Value = Value> {
    (option::of(any_amounts()), option::of(any_amounts())).prop_map(|(requests, limits)| {
        let requests = requests.map(|mut requests| {
            for name in ["cpu", "memory"] {
                let limit = limits.as_ref().and_then(|limits| limits.get(name));
                if let (Some(limit), Some(request)) = (limit, requests.get_mut(name))
                    && request.as_str() > limit.as_str()
                {
                    *request = limit.clone();
                }
            }
            requests
        });
        object([("requests", requests), ("limits", limits)])
    })
}

fn any_container(name: String) -> impl Strategy<Value = Value> {
    let port = (select(vec![8080_u16, 8081, 53, 9090]), select(vec!["TCP", "UDP", ""]), select(vec!["http", "p"]))
        .prop_map(|(port, protocol, name)| {
            json!({"containerPort": port, "protocol": protocol, "name": name})
        });
    let probe = || option::of(select(vec![json!({}), json!({"terminationGracePeriodSeconds": 3})]));
    let mount = select(vec![
        json!({"name": "data", "mountPath": "/data"}),
        json!({"name": "data", "mountPath": "/lameduck"}),
        json!({"name": "data", "mountPath": "/lameduckling"}),
    ]);
    let lifecycle = option::of(any_handler())
        .prop_map(|hook| object([("preStop", hook), ("postStart", Some(json!({"exec": {}})))]));
    (
        option::of(vec(port, 0..3)),
        option::of(prop_oneof![Just(Value::Null), lifecycle]),
        option::of(Just(json!({"tcpSocket": {"port": 1}}))),
        probe(),
        probe(),
        option::of(any_resources()),
        option::of(vec(mount, 0..2)),
    )
        .prop_map(
            move |(ports, lifecycle, readiness, liveness, startup, resources, mounts)| {
                object([
                    ("name", Some(json!(name))),
                    ("ports", ports.map(Value::from)),
                    ("lifecycle", lifecycle),
                    ("readinessProbe", readiness),
                    ("livenessProbe", liveness),
                    ("startupProbe", startup),
                    ("resources", resources),
                    ("volumeMounts", mounts.map(Value::from)),
                ])
            },
        )
}

fn any_containers(prefix: &'static str, most: usize) -> impl Strategy<Value = Vec<Value>> {
    (0..=most).prop_flat_map(move |count| {
        (0..count)
            .map(|index| any_container(format!("{prefix}{index}")).boxed())
            .collect::<Vec<_>>()
    })
}

fn any_pod() -> impl Strategy<Value = Value> {
    let init =
        (any_containers("init", 2), vec(any::<bool>(), 2)).prop_map(|(mut init, sidecars)| {
            for (container, is_sidecar) in init.iter_mut().zip(sidecars) {
                if is_sidecar {
                    container["restartPolicy"] = json!("Always");
                }
            }
            init
        });
    let volume = select(vec![
        json!({"name": "data", "emptyDir": {}}),
        json!({"name": "lameduck", "configMap": {}}),
    ]);
    let metadata = (
        option::of(select(vec![
            json!({}),
            json!({POLICY_LABEL: ""}),
            json!({POLICY_LABEL: "default", "a/b~c": "d"}),
        ])),
        option::of(select(vec![
            json!({}),
            json!({"lameduck.dev/injected": "?"}),
            json!({"lameduck.dev/original-termination-grace-period-seconds": "999999"}),
        ])),
        option::of(vec(select(vec!["other/finalizer", FINALIZER]), 0..2)),
    )
        .prop_map(|(labels, annotations, finalizers)| {
            object([
                ("name", Some(json!("a"))),
                ("labels", labels),
                ("annotations", annotations),
                ("finalizers", finalizers.map(Value::from)),
            ])
        });
    (
        metadata,
        any_containers("app", 3),
        option::of(init),
        option::of(vec(volume, 0..2)),
        option::of(select(vec![-1_i64, 0, 1, 30, 5000])),
        option::of(any_resources()),
        any::<bool>(),
        option::of(select(vec![0, 1000])),
    )
        .prop_map(
            |(metadata, containers, init, volumes, grace, resources, host_network, user)| {
                json!({
                    "metadata": metadata,
                    "spec": object([
                        ("containers", Some(containers.into())),
                        ("initContainers", init.map(Value::from)),
                        ("volumes", volumes.map(Value::from)),
                        ("terminationGracePeriodSeconds", grace.map(Value::from)),
                        ("resources", resources),
                        ("hostNetwork", Some(host_network.into())),
                        ("securityContext", user.map(|user| json!({"runAsUser": user}))),
                    ]),
                })
            },
        )
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["containers"].as_array().unwrap().iter()
}

fn all_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    containers(pod).chain(pod["spec"]["initContainers"].as_array().into_iter().flatten())
}

fn is_unique<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

fn grace(pod: &Value) -> i64 {
    pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30)
}

fn command(container: &Value) -> Vec<&str> {
    let command = container.pointer("/lifecycle/preStop/exec/command").and_then(Value::as_array);
    command.into_iter().flatten().map(|word| word.as_str().unwrap()).collect()
}

/// Found by the property below: a hold and a native sleep in one pod, and the sleep is the longer one.
#[test]
fn the_grace_has_room_for_the_longer_of_hold_and_sleep() {
    let taken = json!([{"name": "data", "mountPath": "/lameduck"}]);
    let pod = json!({
        "metadata": {"name": "a"},
        "spec": {
            "containers": [{"name": "held"}, {"name": "sleeps", "volumeMounts": taken}],
            "terminationGracePeriodSeconds": -1,
        },
    });
    let mut policy = Policy::default();
    (policy.hold.max_seconds, policy.hold.sleep_seconds) = (1, 13);
    assert_eq!(grace(&apply(&pod, &plan(&pod, &policy))), 14);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_patched_pod_is_valid_and_a_second_review_changes_nothing(
        pod in any_pod(), policy in any_policy()
    ) {
        let first = plan(&pod, &policy);
        let patched = apply(&pod, &first);
        for warning in &first.warnings {
            prop_assert!(warning.chars().count() <= 256);
        }

        // Twice is once.
        let second = plan(&patched, &policy);
        prop_assert_eq!(&second.operations, &[]);
        prop_assert!(second.outcome == Outcome::Unchanged);

        // What the API demands.
        prop_assert!(is_unique(all_containers(&patched).map(|all| all["name"].as_str().unwrap())));
        let names = patched["spec"]["volumes"].as_array().into_iter().flatten();
        let ours = names.filter(|volume| volume["name"] == "lameduck");
        let before = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let theirs = before.filter(|volume| volume["name"] == "lameduck").count();
        prop_assert!(ours.count() <= theirs.max(1));
        for container in containers(&patched) {
            let seconds = &container["lifecycle"]["preStop"]["sleep"]["seconds"];
            let own = containers(&pod).find(|own| own["name"] == container["name"]).unwrap();
            if own["lifecycle"]["preStop"]["sleep"].is_null() {
                prop_assert!(seconds.as_i64().is_none_or(|seconds| seconds <= grace(&patched)));
            }
            let kinds = container["lifecycle"]["preStop"].as_object();
            prop_assert!(kinds.is_none_or(|kinds| kinds.len() <= 1));
            let mounts = container["volumeMounts"].as_array().into_iter().flatten();
            let at_ours = mounts.filter(|mount| mount["mountPath"] == "/lameduck").count();
            let theirs = own["volumeMounts"].as_array().into_iter().flatten();
            let taken = theirs.filter(|mount| mount["mountPath"] == "/lameduck").count();
            prop_assert!(at_ours <= taken.max(1));
        }

        // What is promised.
        prop_assert_eq!(qos(&patched), qos(&pod), "QoS");
        prop_assert!(grace(&patched) >= grace(&pod));
        prop_assert_eq!(&patched["metadata"]["labels"][POLICY_LABEL], "default");
        let finalizers = |pod: &Value| {
            let all = pod["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            all.iter().filter(|name| **name == FINALIZER).count()
        };
        let wanted = usize::from(policy.finalizer == lameduck_core::policy::FinalizerMode::Always);
        prop_assert_eq!(finalizers(&patched), finalizers(&pod).max(wanted));
    }

    #[test]
    fn a_hold_has_its_binary_the_time_it_needs_and_the_authors_hook(
        pod in any_pod(), policy in any_policy()
    ) {
        let patched = apply(&pod, &plan(&pod, &policy));
        let original = patched["metadata"]["annotations"]
            ["lameduck.dev/original-termination-grace-period-seconds"].as_str();
        for (own, container) in containers(&pod).zip(containers(&patched)) {
            let command = command(container);
            if command.first() != Some(&"/lameduck/hold") {
                // No hold: the hook of the author's own is untouched.
                let hook = &own["lifecycle"]["preStop"];
                prop_assert!(hook.is_null() || *hook == container["lifecycle"]["preStop"]);
                continue;
            }
            let init = &patched["spec"]["initContainers"][0];
            prop_assert_eq!(&init["name"], "lameduck");
            let mounts = container["volumeMounts"].as_array().unwrap();
            let mount = json!({"name": "lameduck", "mountPath": "/lameduck", "readOnly": true});
            prop_assert!(mounts.contains(&mount));
            let original: i64 = original.unwrap().parse().unwrap();
            prop_assert!(grace(&patched) >= original + i64::from(policy.hold.max_seconds) + 10);
            let at = command.iter().position(|word| *word == "--grace-seconds").unwrap();
            prop_assert_eq!(command[at + 1], original.to_string());
            let words = |value: &Value| -> Vec<String> {
                let all = value.as_array().into_iter().flatten();
                all.map(|word| word.as_str().unwrap().to_owned()).collect()
            };
            let hook = words(&own["lifecycle"]["preStop"]["exec"]["command"]);
            if !hook.is_empty() {
                let at = command.iter().position(|word| *word == "--").unwrap();
                prop_assert_eq!(&command[at + 1..], &hook[..]);
            }
            if let Some(seconds) = own["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64() {
                let wrapped = ["--pre-stop-sleep-seconds".to_owned(), seconds.to_string()];
                prop_assert_eq!(&command[command.len() - 2..], &wrapped[..]);
            }
            // The raised grace stays out of the probes that kill the container.
            for probe in ["livenessProbe", "startupProbe"] {
                if let Some(probe) = container[probe].as_object() {
                    let seconds = probe["terminationGracePeriodSeconds"].as_i64().unwrap();
                    prop_assert!(seconds == 3 || seconds == original.max(1));
                }
            }
        }
    }

    #[test]
    fn a_damaged_pod_never_panics(pod in any_pod(), at in any::<proptest::sample::Index>(), with in "\\PC{0,3}") {
        let mut text: Vec<char> = pod.to_string().chars().collect();
        let at = at.index(text.len());
        text.splice(at..=at, with.chars());
        let text: String = text.into_iter().collect();
        if let Ok(view) = serde_json::from_str::<Pod<'_>>(&text) {
            in_shop(&Policy::default(), Some("default"), |context| plan_pod(&view, context));
        }
    }
}
