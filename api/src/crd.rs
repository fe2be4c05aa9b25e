//! The CustomResourceDefinitions as they are installed: what the derive makes of the types, plus
//! what a type cannot say about itself.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};
use kube::CustomResourceExt;

use crate::names::POLICY_NONE;
use crate::{TerminationPolicy, Upgrade};

/// The definition of `TerminationPolicy`.
#[must_use]
pub fn termination_policy_crd() -> CustomResourceDefinition {
    let mut crd = TerminationPolicy::crd();
    for version in &mut crd.spec.versions {
        let Some(root) =
            version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        plain_integers(root);
        // The name is a label's value wherever the policy is used.
        root.x_kubernetes_validations = Some(vec![
            rule(
                &format!("self.metadata.name != '{POLICY_NONE}'"),
                "the name 'none' is how the label lameduck.dev/policy opts out",
            ),
            rule(
                "size(self.metadata.name) <= 63",
                "the name must have at most 63 characters: it is the value of the label lameduck.dev/policy",
            ),
            ValidationRule {
                field_path: Some(".spec.trafficOff.settleSeconds".to_owned()),
                ..rule(
                    "self.spec.hold.until == 'Off' || self.spec.trafficOff.settleSeconds < self.spec.hold.maxSeconds",
                    "settleSeconds must be shorter than hold.maxSeconds: every hold would end before traffic is off",
                )
            },
        ]);
    }
    crd
}

/// The definition of `Upgrade`.
#[must_use]
pub fn upgrade_crd() -> CustomResourceDefinition {
    let mut crd = Upgrade::crd();
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(root) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            plain_integers(root);
        }
    }
    crd
}

fn rule(rule: &str, message: &str) -> ValidationRule {
    ValidationRule {
        rule: rule.to_owned(),
        message: Some(message.to_owned()),
        ..ValidationRule::default()
    }
}

/// Takes Rust's integer formats out: OpenAPI does not know them, and the API server warns about each
/// at every apply. The bounds stand next to them anyway.
fn plain_integers(schema: &mut JSONSchemaProps) {
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    // The derive takes what has no single type for something that may be null.
    if schema.x_kubernetes_int_or_string == Some(true) {
        schema.nullable = None;
    }
    schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
        .for_each(plain_integers);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        plain_integers(items);
    }
}
