//! Nulls, unknown and missing members: never a panic, never a weight or an empty list from nothing.

use std::net::IpAddr;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::decode::listeners;
use crate::envelope;
use crate::http::Answer;
use crate::rows::{GapKind, Listeners, Weight};

/// Rows of both kinds: the API's own sample, and a pod's row.
pub(super) const SAMPLE: &str = include_str!("../../samples/describe-targets.json");

fn sample() -> Value {
    serde_json::from_str::<Value>(SAMPLE).unwrap()["Response"]["Listeners"].take()
}

fn read(value: &Value) -> Listeners {
    listeners(value.as_array().unwrap())
}

fn pod() -> IpAddr {
    "10.0.0.7".parse().unwrap()
}

#[test]
fn the_published_sample() {
    let read = read(&sample());
    assert!(read.is_complete(), "{:?}", read.gaps);
    assert_eq!(read.listeners.len(), 2);
    let [http, tcp] = &read.listeners[..] else { panic!("{read:?}") };
    assert_eq!(
        (http.listener_id.as_str(), http.port, http.end_port),
        ("lbl-4fo6k8na", Some(80), None)
    );
    assert!(http.targets.is_none() && tcp.rules.is_none());
    let row = http.rows().next().unwrap();
    assert_eq!(row.rule.unwrap().location_id.as_deref(), Some("loc-o9732aw0"));
    assert_eq!(row.target.backend_type.as_deref(), Some("CVM"));
    assert_eq!(row.target.weight, Weight::Known(10));
    let rows: Vec<_> = read.rows_of(pod(), 8080).collect();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.listener.listener_id.as_str(), row.rule), ("lbl-4ue2rpl2", None));
    assert_eq!(row.target.instance_id, None, "an empty text is none");
    assert_eq!(row.target.eni_id.as_deref(), Some("eni-1234abcd"));
    assert_eq!(row.target.registered_time.as_deref(), Some("2026-03-01 10:00:00"));
    assert_eq!(row.target.weight, Weight::Known(7));
    assert_eq!(read.rows_of(pod(), 8081).count(), 0);
}

#[test]
fn only_a_whole_number_of_the_range_is_a_weight() {
    let weight = |member: &str| {
        let text = format!(
            r#"[{{"ListenerId":"l","Targets":[{{"PrivateIpAddresses":["10.0.0.7"],"Port":1{member}}}]}}]"#
        );
        let read = read(&serde_json::from_str(&text).unwrap());
        assert!(read.is_complete(), "the row itself is known");
        read.rows().next().unwrap().target.weight.clone()
    };
    for (text, known) in [("0", 0), ("10", 10), ("100", 100)] {
        assert_eq!(weight(&format!(r#","Weight":{text}"#)), Weight::Known(known));
    }
    for text in [
        "null", "-0.0", "0.0", "\"0\"", "\"\"", "false", "[]", "[0]", "{}", "-1", "101", "256",
        "1e99",
    ] {
        let weight = weight(&format!(r#","Weight":{text}"#));
        assert!(matches!(weight, Weight::Unknown(_)), "{text}: {weight:?}");
    }
    assert!(matches!(weight(""), Weight::Unknown(_)));
}

#[test]
fn no_value_is_not_empty() {
    let gap = |listener: Value| {
        let read = read(&json!([listener]));
        assert_eq!(read.rows().count(), 0);
        read.gaps.first().map(|gap| gap.kind)
    };
    let no_value = Some(GapKind::NoValue);
    assert_eq!(gap(json!({"ListenerId": "l", "Protocol": "TCP", "Targets": []})), None);
    assert_eq!(gap(json!({"ListenerId": "l", "Protocol": "http", "Rules": []})), None);
    assert_eq!(gap(json!({"ListenerId": "l", "Protocol": "tcp", "Targets": null})), no_value);
    assert_eq!(
        gap(json!({"ListenerId": "l", "Protocol": "tcp", "Targets": null, "Rules": []})),
        no_value
    );
    assert_eq!(
        gap(json!({"ListenerId": "l", "Protocol": "HTTPS", "Targets": [], "Rules": null})),
        no_value
    );
    assert_eq!(gap(json!({"ListenerId": "l", "Protocol": "HTTP", "Rules": [{}]})), no_value);
    assert_eq!(gap(json!({"ListenerId": "l"})), no_value);
    let unreadable = Some(GapKind::Unreadable);
    assert_eq!(gap(json!({"ListenerId": "l", "Protocol": "TCP", "Targets": {}})), unreadable);
    assert_eq!(gap(json!({"ListenerId": null, "Targets": []})), unreadable);
    assert_eq!(gap(json!(null)), unreadable);
    assert_eq!(gap(json!({"ListenerId": "l", "Targets": [null]})), unreadable);
    // What says both says one of them wrong.
    let both = json!({"PrivateIp": "10.0.0.7", "PrivateIpAddresses": "10.0.0.8", "Port": 1});
    assert_eq!(gap(json!({"ListenerId": "l", "Targets": [both]})), unreadable);
}

/// Every place in a value: the path from the root.
fn places(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (name, member) in members {
        path.push(name);
        found.push(path.clone());
        places(member, path, found);
        path.pop();
    }
}

#[derive(Clone, Debug)]
enum Harm {
    Null,
    Gone,
    Becomes(Value),
    NewMember,
}

fn harm() -> impl Strategy<Value = Harm> {
    // Nothing that is a readable port, address or weight, and no empty list.
    let wrong = prop_oneof![
        Just(json!("x")),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!(3.5)),
        Just(json!({})),
        Just(json!({"Weight": 0})),
        Just(json!([null])),
        Just(json!("0")),
    ];
    prop_oneof![
        Just(Harm::Null),
        Just(Harm::Gone),
        wrong.prop_map(Harm::Becomes),
        Just(Harm::NewMember)
    ]
}

fn apply(root: &mut Value, at: Index, harm: &Harm) {
    let mut all = Vec::new();
    places(root, &mut Vec::new(), &mut all);
    if all.is_empty() {
        return;
    }
    let path = at.get(&all);
    let pointer = format!("/{}", path.join("/"));
    match harm {
        Harm::Null => *root.pointer_mut(&pointer).unwrap() = Value::Null,
        Harm::Becomes(value) => *root.pointer_mut(&pointer).unwrap() = value.clone(),
        Harm::NewMember => {
            if let Some(Value::Object(members)) = root.pointer_mut(&pointer) {
                members.insert("SomethingNew".to_owned(), json!({"Weight": 0}));
            }
        }
        Harm::Gone => {
            let (last, parent) = path.split_last().unwrap();
            let parent = parent.iter().fold(String::new(), |to, part| format!("{to}/{part}"));
            // An item that is gone from a list cannot be seen; a member can.
            if let Some(Value::Object(members)) = root.pointer_mut(&parent) {
                members.remove(last);
            }
        }
    }
}

/// Any JSON, with the names that mean something.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "ListenerId",
        "Protocol",
        "Port",
        "EndPort",
        "Targets",
        "Rules",
        "LocationId",
        "Domain",
        "Url",
        "Type",
        "Weight",
        "PrivateIpAddresses",
        "PrivateIp",
        "Listeners",
        "Response",
        "Error",
        "Code",
        "Message",
        "RequestId",
        "Other",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..200_u32).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["10.0.0.7", "TCP", "http", "lbl-1"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((name.clone(), inner), 0..8).prop_map(|members| {
                members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()
            }),
        ]
    })
}

fn zeros(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(zeros).sum(),
        Value::Object(members) => {
            usize::from(members.get("Weight") == Some(&json!(0)))
                + members.values().map(zeros).sum::<usize>()
        }
        _ => 0,
    }
}

fn open(status: u16, body: &[u8]) -> Result<envelope::Reply, crate::Failure> {
    let answer = Answer {
        status: hyper::StatusCode::from_u16(status).unwrap(),
        headers: hyper::HeaderMap::new(),
        body: bytes::Bytes::copy_from_slice(body),
    };
    envelope::open(&answer, Timestamp::UNIX_EPOCH, &crate::text::one_line)
}

proptest! {
    /// What is harmed is unknown or a gap; what the answer still claims, it claimed before.
    #[test]
    fn harm_never_makes_a_zero_nor_hides_a_row(harms in vec((any::<Index>(), harm()), 1..6)) {
        let whole = read(&sample());
        let mut harmed = json!({ "Listeners": sample() });
        for (at, harm) in &harms {
            apply(&mut harmed, *at, harm);
        }
        let Ok(values) = crate::decode::list(&harmed, "Listeners") else { return Ok(()) };
        let read = listeners(values);
        for row in read.rows() {
            prop_assert!(!row.target.weight.is_zero(), "{harmed}");
        }
        if read.is_complete() {
            for row in whole.rows() {
                let target = row.target;
                prop_assert!(
                    read.rows_of(target.private_ips[0], target.port).next().is_some(),
                    "{} is lost without a gap: {harmed}", target.private_ips[0]
                );
            }
        }
    }

    #[test]
    fn any_json_is_read_without_a_panic(value in any_json()) {
        let read = listeners(std::slice::from_ref(&value));
        let known = read.rows().filter(|row| row.target.weight.is_zero()).count();
        prop_assert!(known <= zeros(&value));
        crate::load_balancer::LoadBalancer::read(&value).ok();
        crate::change::TaskStatus::read(&value).ok();
        crate::health::read(std::slice::from_ref(&value));
        for gap in &read.gaps {
            prop_assert!(!gap.to_string().contains('\n'));
        }
    }

    #[test]
    fn any_bytes_are_opened_without_a_panic(body in vec(any::<u8>(), 0..200), status in 100_u16..600) {
        open(status, &body).ok();
    }

    #[test]
    fn any_envelope_is_opened_without_a_panic(value in any_json(), status in 100_u16..600) {
        let body = json!({ "Response": value }).to_string();
        if let Ok(reply) = open(status, body.as_bytes()) {
            prop_assert!(reply.response.is_object());
            prop_assert!(reply.response["Error"].is_null());
        }
    }

    /// No begin of an answer is an answer.
    #[test]
    fn a_cut_answer_is_none(at in any::<Index>()) {
        let cut = &SAMPLE.as_bytes()[..at.index(SAMPLE.trim_end().len())];
        let failure = open(200, cut).err().unwrap();
        prop_assert!(matches!(failure, crate::Failure::Garbled { .. }), "{failure}");
        prop_assert!(failure.retry_helps());
    }
}
