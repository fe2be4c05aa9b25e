//! Policies and namespaces among the manifests.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use lameduck_api::{TerminationPolicySpec, termination_policy_crd};
use lameduck_core::names::{POLICY_LABEL, POLICY_NONE};
use lameduck_core::policy::{Policy, Until};
use serde_json::Value;

/// What the webhook knows of the cluster.
#[derive(Clone, Debug)]
pub struct World {
    /// Every policy by name.
    pub policies: BTreeMap<String, Policy>,
    /// The policy labels of the namespaces among the manifests.
    pub namespaces: BTreeMap<String, String>,
    /// The label of all the others.
    pub others: Option<String>,
    /// The namespace of objects that name none.
    pub namespace: String,
}

impl World {
    /// A cluster with nothing but the policy that every installation has.
    #[must_use]
    pub fn new(namespace: String, others: Option<String>) -> Self {
        let policies = BTreeMap::from([("default".to_owned(), Policy::default())]);
        Self { policies, namespaces: BTreeMap::new(), others, namespace }
    }

    /// The policy label of a namespace.
    #[must_use]
    pub fn label(&self, namespace: &str) -> Option<&str> {
        self.namespaces.get(namespace).or(self.others.as_ref()).map(String::as_str)
    }

    /// Takes in an object that the webhook knows the cluster by.
    ///
    /// # Errors
    /// It is a policy that the API server would refuse: the field's path, and why.
    pub fn learn(&mut self, object: &Value) -> Result<(), String> {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        match (object["apiVersion"].as_str(), object["kind"].as_str()) {
            (Some("v1"), Some("Namespace")) => {
                if let Some(label) = metadata["labels"][POLICY_LABEL].as_str() {
                    self.namespaces.insert(name.to_owned(), label.to_owned());
                }
                Ok(())
            }
            (Some(version), Some("TerminationPolicy")) if version.starts_with("lameduck.dev/") => {
                let policy = policy(name, object.get("spec").unwrap_or(&Value::Null))?;
                self.policies.insert(name.to_owned(), policy);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A policy as the API server would take it.
///
/// # Errors
/// The path of the field that it would refuse, and why.
pub fn policy(name: &str, spec: &Value) -> Result<Policy, String> {
    if name.is_empty() {
        return Err("metadata.name is missing".to_owned());
    }
    if !spec.is_object() {
        return Err("spec: expected an object, which may be empty".to_owned());
    }
    let read: TerminationPolicySpec = serde_path_to_error::deserialize(spec).map_err(|error| {
        let path = error.path().to_string();
        let dot = if path == "." { String::new() } else { format!(".{path}") };
        format!("spec{dot}: {}", error.into_inner())
    })?;
    let crd = termination_policy_crd();
    let schema = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
    let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_ref());
    let schema = schema.and_then(|schema| schema.properties.as_ref()?.get("spec"));
    if let Some(refused) = schema.and_then(|schema| out_of_range("spec", spec, schema)) {
        return Err(refused);
    }
    let policy = Policy::from(read);
    RULES
        .iter()
        .find(|(_, _, holds)| !holds(name, &policy))
        .map_or(Ok(policy), |(field, why, _)| Err(format!("{field}: {why}")))
}

type Rule = (&'static str, &'static str, fn(&str, &Policy) -> bool);

/// What the CRD says in CEL. A test counts the CRD's rules, so that a new one is not forgotten here.
const RULES: [Rule; 6] = [
    ("metadata.name", "none is how the label lameduck.dev/policy opts out", |name, _| {
        name != POLICY_NONE
    }),
    ("metadata.name", "more than 63 characters: it is the value of a label", |name, _| {
        name.chars().count() <= 63
    }),
    ("spec.trafficOff.settleSeconds", "must be less than spec.hold.maxSeconds", |_, policy| {
        policy.hold.until == Until::Off
            || policy.traffic_off.settle_seconds < policy.hold.max_seconds
    }),
    ("spec.trafficOff.settleSeconds", "must be less than giveUpSeconds", |_, policy| {
        policy.traffic_off.settle_seconds < policy.traffic_off.give_up_seconds
    }),
    ("spec.hold.idleSeconds", "must not be more than maxSeconds", |_, policy| {
        policy.hold.until != Until::ConnectionsIdle
            || policy.hold.idle_seconds <= policy.hold.max_seconds
    }),
    ("spec.deployments.maxSurge", "must not be 0 while maxUnavailable is 0", |_, policy| {
        policy.deployments.max_unavailable > 0 || policy.deployments.max_surge > 0
    }),
];

/// The first number outside of what the schema allows.
fn out_of_range(path: &str, value: &Value, schema: &JSONSchemaProps) -> Option<String> {
    if let Some(number) = value.as_f64() {
        let (least, most) = (schema.minimum, schema.maximum);
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
            let bound = |word: &str, bound: Option<f64>| {
                bound.map(|bound| format!("{word} {bound}")).unwrap_or_default()
            };
            let bounds = [bound("at least", least), bound("at most", most)];
            let bounds: Vec<&str> =
                bounds.iter().map(String::as_str).filter(|bound| !bound.is_empty()).collect();
            return Some(format!("{path}: {number} must be {}", bounds.join(" and ")));
        }
    }
    let members = schema.properties.as_ref()?;
    value.as_object()?.iter().find_map(|(name, value)| {
        out_of_range(&format!("{path}.{name}"), value, members.get(name)?)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_refuses_is_refused_with_its_field() {
        for (spec, field) in [
            (json!({"hold": {"maxSeconds": 0}}), "spec.hold.maxSeconds: 0 must be"),
            (json!({"hold": {"until": "Whenever"}}), "spec.hold.until: "),
            (json!({"trafficOff": {"settleSeconds": -1}}), "spec.trafficOff.settleSeconds: "),
            (json!({"hold": {"maxSecond": 5}}), "spec.hold.maxSecond: "),
            (json!({"mode": "Sometimes"}), "spec.mode: "),
            (
                json!({"hold": {"until": "ConnectionsIdle", "idleSeconds": 901}}),
                "spec.hold.idleSeconds: ",
            ),
            (
                json!({"trafficOff": {"settleSeconds": 9, "giveUpSeconds": 9}}),
                "spec.trafficOff.settleSeconds: ",
            ),
            (
                json!({"hold": {"maxSeconds": 20}, "trafficOff": {"settleSeconds": 20}}),
                "spec.trafficOff.settleSeconds: ",
            ),
            (json!({"deployments": {"maxSurge": 0}}), "spec.deployments.maxSurge: "),
            (json!(null), "spec: "),
            (json!([]), "spec: "),
        ] {
            let refused = policy("bad", &spec).expect_err("taken");
            assert!(refused.starts_with(field), "{spec}: {refused}");
        }
        assert!(policy("none", &json!({})).is_err());
        assert_eq!(policy("good", &json!({})), Ok(Policy::default()));
    }

    #[test]
    fn every_rule_of_the_definition_is_here() {
        let crd = serde_json::to_string(&termination_policy_crd()).expect("a definition");
        assert_eq!(crd.matches("\"rule\":").count(), RULES.len());
    }
}
