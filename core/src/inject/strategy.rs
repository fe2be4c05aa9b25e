//! Update strategies: the floors for a Deployment's rolling update, and a StatefulSet's `OnDelete`.
//!
//! They are plain JSON, so that members which a newer Kubernetes knows come back as they were.

use serde_json::{Value, json};

use crate::policy::Deployments;

/// What the API server fills in where the author gives nothing.
const API_DEFAULT: &str = "25%";

/// `OnDelete`, alone: the API refuses it beside a `rollingUpdate` that its own defaulting filled in.
pub(super) fn on_delete() -> Value {
    json!({"type": "OnDelete"})
}

/// Whether a Deployment's strategy is `Recreate`.
pub(super) fn is_recreate(strategy: Option<&Value>) -> bool {
    strategy.and_then(|strategy| strategy.get("type")).and_then(Value::as_str) == Some("Recreate")
}

/// The author's rolling update where it is at least as strict as the floors, else the floors.
///
/// 25 % and 25 % together are the API's own defaults, so nobody asked for them.
pub(super) fn rolling(strategy: Option<&Value>, replicas: i64, floors: &Deployments) -> Value {
    let member = |name: &str| strategy.and_then(|all| all.get("rollingUpdate")?.get(name));
    let (unavailable, surge) = (member("maxUnavailable"), member("maxSurge"));
    let is_default = |value: Option<&Value>| {
        value.is_none_or(|value| value.as_str() == Some(API_DEFAULT) || value.is_null())
    };
    let is_unset = is_default(unavailable) && is_default(surge);

    let most_unavailable = i64::from(floors.max_unavailable);
    let keeps_unavailable = unavailable.filter(|value| {
        !is_unset
            && pods(value, replicas, i64::div_euclid)
                // A share of the pods grows with them, and nobody asks us about a scale-up.
                .is_some_and(|pods| {
                    pods <= most_unavailable && (most_unavailable > 0 || is_zero(value))
                })
    });
    let unavailable = keeps_unavailable.cloned().unwrap_or_else(|| json!(most_unavailable));
    // The API refuses a rollout that may neither take a pod away nor add one.
    let least_surge = if is_zero(&unavailable) {
        i64::from(floors.max_surge).max(1)
    } else {
        i64::from(floors.max_surge)
    };
    let keeps_surge = surge.filter(|value| {
        let round_up = |a: i64, b: i64| a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0);
        !is_unset && pods(value, replicas.max(1), round_up).is_some_and(|pods| pods >= least_surge)
    });
    let surge = keeps_surge.cloned().unwrap_or_else(|| json!(least_surge));
    json!({
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge},
    })
}

fn is_zero(value: &Value) -> bool {
    value.as_i64() == Some(0) || value.as_str().and_then(percent) == Some(0)
}

fn percent(text: &str) -> Option<i64> {
    text.strip_suffix('%')?.parse().ok()
}

/// A number of pods from a number or a share; `None` where it is neither.
fn pods(value: &Value, replicas: i64, divide: impl Fn(i64, i64) -> i64) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => Some(divide(percent(text)?.saturating_mul(replicas.max(0)), 100)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enforce(unavailable: Value, surge: Value, replicas: i64) -> (Value, Value) {
        let strategy = json!({
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge},
        });
        let mut rolling = rolling(Some(&strategy), replicas, &Deployments::default());
        let update = rolling["rollingUpdate"].take();
        (update["maxUnavailable"].clone(), update["maxSurge"].clone())
    }

    #[test]
    fn the_apis_defaults_count_as_unset() {
        assert_eq!(enforce(json!("25%"), json!("25%"), 100), (json!(0), json!(1)));
        let rolling = rolling(None, 3, &Deployments::default());
        assert_eq!(rolling["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
    }

    #[test]
    fn what_is_stricter_than_the_floors_stays() {
        assert_eq!(enforce(json!(0), json!("50%"), 4), (json!(0), json!("50%")));
        assert_eq!(enforce(json!("0%"), json!(3), 4), (json!("0%"), json!(3)));
    }

    #[test]
    fn what_is_looser_is_raised() {
        assert_eq!(enforce(json!(1), json!(0), 4), (json!(0), json!(1)));
        // 1 % of 4 pods is no pod now, and is one pod at 100.
        assert_eq!(enforce(json!("1%"), json!("10%"), 4), (json!(0), json!("10%")));
    }

    #[test]
    fn a_second_look_changes_nothing() {
        for floors in [(0, 0), (0, 1), (2, 0), (3, 5)] {
            let floors = Deployments {
                max_unavailable: floors.0,
                max_surge: floors.1,
                min_ready_seconds: 0,
            };
            for value in [json!("25%"), json!("10%"), json!(0), json!(1), json!(7), json!(null)] {
                let strategy =
                    json!({"rollingUpdate": {"maxUnavailable": value, "maxSurge": value}});
                let once = rolling(Some(&strategy), 10, &floors);
                assert_eq!(rolling(Some(&once), 10, &floors), once, "{value} under {floors:?}");
            }
        }
    }
}
