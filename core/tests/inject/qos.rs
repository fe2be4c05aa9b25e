//! The QoS class of a pod, written down from the rules of Kubernetes and not from our code.

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    BestEffort,
    Burstable,
    Guaranteed,
}

/// Quantities of the tests are plain numbers or `0`.
fn quantity(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

pub(crate) fn qos(pod: &Value) -> Qos {
    let spec = &pod["spec"];
    let own = &spec["resources"];
    let has_own = ["requests", "limits"]
        .iter()
        .any(|kind| own[kind].as_object().is_some_and(|amounts| !amounts.is_empty()));
    let resources: Vec<&Value> = if has_own {
        vec![own]
    } else {
        ["containers", "initContainers"]
            .iter()
            .flat_map(|list| spec[list].as_array().into_iter().flatten())
            .map(|container| &container["resources"])
            .collect()
    };
    let mut sums = [[0_u64; 2]; 2];
    let mut every_limit = true;
    for resource in resources {
        for (kind, kind_name) in ["requests", "limits"].iter().enumerate() {
            for (amount, amount_name) in ["cpu", "memory"].iter().enumerate() {
                let value = &resource[kind_name][amount_name];
                let quantity = if value.is_null() { 0 } else { quantity(value) };
                sums[kind][amount] += quantity;
                if *kind_name == "limits" && quantity == 0 {
                    every_limit = false;
                }
            }
        }
    }
    if sums == [[0, 0], [0, 0]] {
        Qos::BestEffort
    } else if every_limit && sums[0] == sums[1] {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}
