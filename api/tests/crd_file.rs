//! The CRDs that are installed are the ones that the types describe.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

fn committed(text: &str) -> CustomResourceDefinition {
    serde_saphyr::from_str(text).unwrap()
}

const CURE: &str = "run: cargo run -p lameduck-api --example crd";

#[test]
fn the_committed_policy_is_the_types_own() {
    let file = include_str!("../../manifests/crds/terminationpolicies.lameduck.dev.yaml");
    assert_eq!(committed(file), lameduck_api::termination_policy_crd(), "{CURE}");
}

#[test]
fn the_committed_upgrade_is_the_types_own() {
    let file = include_str!("../../manifests/crds/upgrades.lameduck.dev.yaml");
    assert_eq!(committed(file), lameduck_api::upgrade_crd(), "{CURE}");
}
