//! What the annotation says, read by other means than those under test.

use std::collections::BTreeMap;

use lameduck_core::upgrade::weights::{Port, Zeros};
use serde_json::Value;

use crate::user::{PORTS, SETS};

/// The highest ordinal that tests use is one less.
pub(crate) const ORDINALS: u32 = 6;

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The weights under which an ordinal is listed at a port, one after another.
pub(crate) fn listings(text: &Value, port: (&str, u16), set: &str, ordinal: u32) -> Vec<u64> {
    let mut weights = Vec::new();
    for group in list(text, "groups") {
        let key = &group["key"];
        if key["proto"].as_str().unwrap().to_uppercase() != port.0 || key["port"] != port.1 {
            continue;
        }
        for entry in list(group, "statefulSets")
            .iter()
            .filter(|candidate| candidate["name"] == set)
            .flat_map(|set| list(set, "weights"))
        {
            let times = list(entry, "podIndexes").iter().filter(|of| **of == ordinal).count();
            weights.extend(vec![entry["weight"].as_u64().unwrap(); times]);
        }
    }
    weights
}

pub(crate) type Weights = BTreeMap<((&'static str, u16), &'static str, u32), Option<u64>>;

/// The weight of every ordinal of every set at every port that tests use. No annotation: no weights.
pub(crate) fn weights(text: Option<&str>) -> Weights {
    let value = text.map_or(Value::Null, parse);
    let mut weights = BTreeMap::new();
    for port in PORTS {
        for set in SETS {
            for ordinal in 0..ORDINALS {
                let listed = listings(&value, port, set, ordinal).last().copied();
                let weight = listed.or(value["defaultWeight"].as_u64());
                weights.insert((port, set, ordinal), weight);
            }
        }
    }
    weights
}

/// `1e400` is JSON, and no number that [`Value`] can hold.
pub(crate) fn parse(text: &str) -> Value {
    serde_json::from_str(&text.replace("1e400", "1")).unwrap()
}

/// Asserts what a merge promises: ours at 0 in exactly one entry on each port, all others as before.
pub(crate) fn assert_merged(before: Option<&str>, after: &str, ports: &[Port], ours: &Zeros) {
    let value = parse(after);
    let mut expected = weights(Some(before.unwrap_or(r#"{"defaultWeight":10}"#)));
    for port in ports {
        let port = (port.protocol.as_str(), port.port);
        for (set, ordinals) in ours {
            for &ordinal in ordinals {
                assert_eq!(
                    listings(&value, port, set, ordinal),
                    [0],
                    "{port:?} {set} {ordinal} {after}"
                );
                let set = SETS.into_iter().find(|known| *known == &**set).unwrap();
                expected.insert((port, set, ordinal), Some(0));
            }
        }
    }
    assert_eq!(weights(Some(after)), expected, "{after}");
    assert_eq!(strangers(&value), strangers(&before.map_or(Value::Null, parse)), "{after}");
}

/// All members that Tencent does not document, wherever they stand.
fn strangers(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        Value::Array(list) => list.iter().for_each(|value| found.extend(strangers(value))),
        Value::Object(members) => {
            for (name, value) in members {
                if name.starts_with("x-") || name == "deployments" {
                    found.push(format!("{name}: {value}"));
                } else {
                    found.extend(strangers(value));
                }
            }
        }
        _ => {}
    }
    found.sort();
    found
}
