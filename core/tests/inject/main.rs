//! Properties of injection over every shape of pod and workload that the views know.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod pods;
mod qos;
mod workloads;

use std::collections::BTreeMap;

use lameduck_core::{
    inject::{Context, Plan, Settings},
    policy::{FinalizerMode, Hold, Policy, Until},
};
use proptest::prelude::*;
use serde_json::Value;

/// Calls `with` in namespace `shop`, whose label is `namespace_policy`, where `default` is the policy.
fn in_shop<T>(
    policy: &Policy,
    namespace_policy: Option<&str>,
    with: impl FnOnce(&Context<'_>) -> T,
) -> T {
    let policies = BTreeMap::from([("default".to_owned(), policy.clone())]);
    let settings = Settings { hold_image: "hold:1".to_owned(), version: "1".to_owned() };
    with(&Context { namespace: "shop", namespace_policy, policies: &policies, settings: &settings })
}

/// The object with the plan's operations applied, as the API server applies them.
fn apply(object: &Value, plan: &Plan) -> Value {
    let operations = serde_json::to_value(&plan.operations).unwrap();
    let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (
        prop_oneof![
            Just(Until::ConnectionsClosed),
            Just(Until::ConnectionsIdle),
            Just(Until::TrafficOff),
            Just(Until::Off)
        ],
        1..2000_u32,
        0..60_u32,
        prop_oneof![Just(FinalizerMode::Always), Just(FinalizerMode::Never)],
    )
        .prop_map(|(until, max_seconds, sleep_seconds, finalizer)| Policy {
            hold: Hold { until, max_seconds, sleep_seconds, ..Hold::default() },
            finalizer,
            ..Policy::default()
        })
}
