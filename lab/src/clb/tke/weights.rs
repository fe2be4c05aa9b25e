//! The annotations that set weights: `lb-rs-weight` on a Service or Ingress, `custom-weight` on a pod.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Deserialize;

use crate::lb::FULL_WEIGHT;

/// The highest weight.
const WEIGHT_MAX: u32 = 100;

/// `lb-rs-weight`. It is for StatefulSets; members that are not known are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    default_weight: Option<u32>,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    key: Key,
    #[serde(default)]
    stateful_sets: Vec<StatefulSet>,
}

#[derive(Clone, Debug, Deserialize)]
struct Key {
    proto: String,
    port: u16,
}

#[derive(Clone, Debug, Deserialize)]
struct StatefulSet {
    name: String,
    #[serde(default)]
    weights: Vec<Ordinals>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ordinals {
    weight: u32,
    #[serde(default)]
    pod_indexes: Vec<u32>,
}

impl Weights {
    /// Reads the annotation's value, for an object whose listeners have these protocols and ports.
    ///
    /// # Errors
    /// It is no JSON of this form, a weight is above 100, or a group's port is none of the object's.
    pub fn parse(text: &str, listeners: &[(&str, u16)]) -> Result<Self, String> {
        let parsed: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let sets = parsed.groups.iter().flat_map(|group| &group.stateful_sets);
        let mut weights =
            sets.flat_map(|set| &set.weights).map(|one| one.weight).chain(parsed.default_weight);
        if let Some(weight) = weights.find(|weight| *weight > WEIGHT_MAX) {
            return Err(format!("the weight {weight} is above {WEIGHT_MAX}"));
        }
        for Group { key, .. } in &parsed.groups {
            if !listeners.contains(&(key.proto.as_str(), key.port)) {
                return Err(format!("{}:{} is none of its ports", key.proto, key.port));
            }
        }
        Ok(parsed)
    }

    /// The weight of `pod` behind the listener, where it serves.
    #[must_use]
    pub fn of(&self, pod: &Pod, protocol: &str, port: u16) -> u32 {
        let set = ordinal(pod).and_then(|(set, ordinal)| {
            self.groups
                .iter()
                .filter(|group| group.key.proto == protocol && group.key.port == port)
                .flat_map(|group| &group.stateful_sets)
                .filter(|one| one.name == set)
                .flat_map(|one| &one.weights)
                .find(|one| one.pod_indexes.contains(&ordinal))
        });
        set.map(|one| one.weight).or(self.default_weight).unwrap_or(FULL_WEIGHT)
    }
}

/// The StatefulSet of `pod`, and its number in it.
fn ordinal(pod: &Pod) -> Option<(&str, u32)> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let set = owners.iter().find(|owner| owner.kind == "StatefulSet")?;
    let name = pod.metadata.name.as_deref()?;
    let number = name.strip_prefix(set.name.as_str())?.strip_prefix('-')?;
    Some((&set.name, number.parse().ok()?))
}

/// The weight that the pod's own annotation `key` asks for; none without it.
///
/// # Errors
/// It is no number from 0 to 100.
pub fn custom(pod: &Pod, key: &str) -> Result<Option<u32>, String> {
    let Some(text) = pod.annotations().get(key) else { return Ok(None) };
    match text.parse() {
        Ok(weight) if weight <= WEIGHT_MAX => Ok(Some(weight)),
        _ => Err(format!("{key} of the pod {} is \"{text}\"", pod.name_any())),
    }
}
