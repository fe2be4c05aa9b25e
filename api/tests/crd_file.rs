//! The CRD that is installed is the one that the types describe.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

#[test]
fn the_committed_definition_is_the_types_own() {
    let committed: CustomResourceDefinition = serde_saphyr::from_str(include_str!(
        "../../manifests/crds/terminationpolicies.lameduck.dev.yaml"
    ))
    .expect("manifests/crds/terminationpolicies.lameduck.dev.yaml is a CustomResourceDefinition");
    assert_eq!(
        committed,
        lameduck_api::termination_policy_crd(),
        "run: cargo run -p lameduck-api --example crd \
         > manifests/crds/terminationpolicies.lameduck.dev.yaml"
    );
}
