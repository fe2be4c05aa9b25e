//! What the API server fills in before the webhook sees an object, as far as a plan depends on it.
//!
//! The plan is made of the object with these, and its patch is applied to the object without: every
//! member that a patch sets below stands in the author's object, or is set whole. So no default shows in a
//! diff. Other defaults decide nothing: core reads a missing `restartPolicy`, grace or protocol as the API
//! server does.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Fills in a Deployment's (`pkg/apis/apps/v1/defaults.go`, `SetDefaults_Deployment`).
pub(super) fn deployment(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    set_missing(spec, "replicas", json!(1));
    set_missing(spec, "progressDeadlineSeconds", json!(600));
    let Some(strategy) = member(spec, "strategy") else { return };
    set_missing(strategy, "type", json!("RollingUpdate"));
    if strategy.get("type") == Some(&json!("RollingUpdate"))
        && let Some(rolling) = member(strategy, "rollingUpdate")
    {
        set_missing(rolling, "maxUnavailable", json!("25%"));
        set_missing(rolling, "maxSurge", json!("25%"));
    }
    // As in `rollingUpdate: null`, beside Recreate: the API server does not keep such members.
    strategy.retain(|_, value| !value.is_null());
}

/// Fills in a StatefulSet's (`SetDefaults_StatefulSet`).
pub(super) fn stateful_set(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    set_missing(spec, "replicas", json!(1));
    let Some(strategy) = member(spec, "updateStrategy") else { return };
    // Who writes the type and no rollingUpdate gets none.
    let has_type = is_set(strategy.get("type"));
    set_missing(strategy, "type", json!("RollingUpdate"));
    let has_rolling = is_set(strategy.get("rollingUpdate"));
    if strategy.get("type") == Some(&json!("RollingUpdate"))
        && (has_rolling || !has_type)
        && let Some(rolling) = member(strategy, "rollingUpdate")
    {
        set_missing(rolling, "partition", json!(0));
    }
    strategy.retain(|_, value| !value.is_null());
}

/// Fills in a pod's (`pkg/apis/core/v1/defaults.go`, `SetDefaults_Pod`): what a container may use at most is
/// what it asks for, where it does not say.
pub(super) fn pod(object: &mut Value) {
    for list in ["containers", "initContainers"] {
        let containers = object.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let resources = container.get_mut("resources").and_then(Value::as_object_mut);
            let Some(resources) = resources else { continue };
            for amounts in ["limits", "requests"] {
                quantities(resources.get_mut(amounts));
            }
            let limits = resources.get("limits").and_then(Value::as_object).cloned();
            let Some(limits) = limits.filter(|limits| !limits.is_empty()) else { continue };
            let Some(requests) = member(resources, "requests") else { continue };
            for (name, amount) in limits {
                set_missing(requests, &name, amount);
            }
        }
    }
}

/// A quantity may be written as a number; the API server has it as a string.
fn quantities(amounts: Option<&mut Value>) {
    for (_, amount) in amounts.and_then(Value::as_object_mut).into_iter().flatten() {
        if amount.is_number() {
            *amount = Value::String(amount.to_string());
        }
    }
}

fn is_set(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null() && value.as_str() != Some(""))
}

fn set_missing(object: &mut Object, name: &str, value: Value) {
    if !is_set(object.get(name)) {
        object.insert(name.to_owned(), value);
    }
}

/// The object at `name`, made where it is missing; none where something else stands there.
fn member<'a>(object: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    set_missing(object, name, json!({}));
    object.get_mut(name)?.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_completed_as_the_api_server_does() {
        let rolling = |unavailable, surge| {
            json!({"type": "RollingUpdate",
                   "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
        };
        for (wrote, read) in [
            (json!(null), rolling(json!("25%"), json!("25%"))),
            (json!({"rollingUpdate": {"maxSurge": 2}}), rolling(json!("25%"), json!(2))),
            (json!({"type": "Recreate"}), json!({"type": "Recreate"})),
        ] {
            let mut object = json!({"spec": {"strategy": wrote}});
            deployment(&mut object);
            assert_eq!(object["spec"]["strategy"], read);
        }
        for (wrote, read) in [
            (json!(null), json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})),
            (json!({"type": "RollingUpdate"}), json!({"type": "RollingUpdate"})),
            (
                json!({"rollingUpdate": {"partition": 2}}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}),
            ),
            (json!({"type": "OnDelete", "rollingUpdate": null}), json!({"type": "OnDelete"})),
        ] {
            let mut object = json!({"spec": {"updateStrategy": wrote}});
            stateful_set(&mut object);
            assert_eq!(object["spec"]["updateStrategy"], read);
        }
    }

    #[test]
    fn limits_are_requests_where_there_are_none() {
        let mut object = json!({"spec": {"containers": [
            {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"memory": "1Mi"}}},
        ]}});
        pod(&mut object);
        assert_eq!(
            object["spec"]["containers"][0]["resources"]["requests"],
            json!({"cpu": "1", "memory": "1Mi"})
        );
    }
}
