//! Edits of an answer: what an API that changes, or a fault, could make of it.

use fastrand::Rng;
use serde_json::{Value, json};

/// Members that mean something: they are what new ones are called.
const NAMES: [&str; 26] = [
    "Error",
    "EndPort",
    "HealthStatus",
    "HealthStatusDetail",
    "HealthStatusDetial",
    "IP",
    "ListenerId",
    "Listeners",
    "LoadBalancerId",
    "LoadBalancerIds",
    "LoadBalancerSet",
    "LoadBalancers",
    "LocationId",
    "Message",
    "Port",
    "PrivateIp",
    "PrivateIpAddresses",
    "Protocol",
    "RegisteredTime",
    "Response",
    "Rules",
    "SomethingNew",
    "Status",
    "Targets",
    "TotalCount",
    "Weight",
];

/// Makes one edit somewhere in `root`.
pub fn edit(root: &mut Value, random: &mut Rng) {
    let mut paths = Vec::new();
    collect(root, &mut String::new(), &mut paths);
    let Some(path) = random.choice(&paths) else { return };
    let elsewhere = random.choice(&paths).and_then(|other| root.pointer(other)).cloned();
    let Some(place) = root.pointer_mut(path) else { return };
    match (random.u8(0..8), place) {
        (0, place) => *place = Value::Null,
        (1, place) => *place = elsewhere.unwrap_or_default(),
        (2, Value::Object(members)) => {
            let name = random.choice(members.keys()).cloned();
            name.and_then(|name| members.remove(&name));
        }
        (3, Value::Object(members)) => {
            let name = random.choice(NAMES).unwrap_or_default();
            members.insert(name.to_owned(), elsewhere.unwrap_or_default());
        }
        (4, Value::Array(items)) if !items.is_empty() => {
            let item = items[random.usize(..items.len())].clone();
            items.insert(random.usize(..=items.len()), item);
        }
        (5, Value::Array(items)) if !items.is_empty() => {
            items.remove(random.usize(..items.len()));
        }
        (_, Value::String(text)) if random.bool() => *text = other_text(text, random),
        (_, place) => *place = odd(random),
    }
}

/// The JSON pointer of every value in `value`, and of itself.
fn collect(value: &Value, path: &mut String, found: &mut Vec<String>) {
    found.push(path.clone());
    let length = path.len();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                path.push('/');
                path.push_str(&name.replace('~', "~0").replace('/', "~1"));
                collect(member, path, found);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push('/');
                path.push_str(&index.to_string());
                collect(item, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn other_text(text: &str, random: &mut Rng) -> String {
    match random.u8(0..6) {
        0 => text.to_ascii_lowercase(),
        1 => text.to_ascii_uppercase(),
        2 => format!(" {text}\r\n{text}\u{0}"),
        // Around the bound of texts that are passed on.
        3 => format!("{} {}", "ü".repeat(random.usize(297..303)), text),
        4 => String::new(),
        _ => random
            .choice([
                "TCP", "http", "HTTPS", "quic", "::1", "0", "Alive", "Dead", "Unknown", "Close",
            ])
            .unwrap_or("")
            .to_owned(),
    }
}

fn odd(random: &mut Rng) -> Value {
    let values = [
        json!(0),
        json!(1),
        json!(2),
        json!(100),
        json!(101),
        json!(256),
        json!(65536),
        json!(-1),
        json!(-0.0),
        json!(0.0),
        json!(0.5),
        json!(1e99),
        json!(u64::MAX),
        json!("0"),
        json!(""),
        json!(" "),
        json!(true),
        json!(false),
        json!([]),
        json!([null]),
        json!([0]),
        json!({}),
        json!({"Weight": 0}),
        json!("10.0.0.7"),
        json!(["10.0.0.7", "fd00::7"]),
    ];
    random.choice(values).unwrap_or_default()
}
