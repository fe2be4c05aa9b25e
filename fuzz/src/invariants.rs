//! What was read, held against the JSON that it was read from.

use std::net::IpAddr;
use std::ops::AddAssign;

use lameduck_clb::{
    Failure, Gap, GapKind, Listener, Listeners, Rule, Target, TaskState, Weight, answers,
};
use serde_json::Value;

use crate::health;

/// Longest text that is passed on, with the sign that it was cut.
const TEXT_MAX_CHARS: usize = 301;

/// Reads `answer` as every call does.
///
/// # Panics
/// Where what was read does not hold against the answer: that is what libFuzzer looks for.
pub fn check(answer: &[u8]) {
    let response = response(answer);
    let member = |name: &str| response.as_ref().map_or(&Value::Null, |response| &response[name]);

    let targets = readable(answers::describe_targets(answer));
    let values = member("Listeners").as_array();
    assert_eq!(targets.is_some(), values.is_some(), "a list of listeners is an answer, only that");
    if let (Some(read), Some(values)) = (targets, values) {
        listeners(values, &read);
    }

    let bindings = readable(answers::describe_lb_listeners(answer));
    let values = member("LoadBalancers").as_array();
    assert_eq!(bindings.is_some(), values.is_some(), "a list of load balancers is an answer");
    if let (Some(read), Some(values)) = (bindings, values) {
        let mut found = read.load_balancers.iter();
        let mut left_out = 0;
        for value in values {
            let (Some(id), Some(values)) =
                (line(&value["LoadBalancerId"]), value["Listeners"].as_array())
            else {
                left_out += 1;
                continue;
            };
            let bound = found.next();
            assert_eq!(bound.map(|bound| &bound.load_balancer_id), Some(&id));
            bound.iter().for_each(|bound| listeners(values, &bound.listeners));
        }
        assert!(found.next().is_none(), "a load balancer that is not in the answer");
        assert_eq!(read.gaps.len(), left_out, "a load balancer was left out without a word");
        read.gaps.iter().for_each(shown);
    }

    let health = readable(answers::describe_target_health(answer));
    assert_eq!(health.is_some(), values.is_some(), "a list of load balancers is an answer");
    if let (Some(read), Some(values)) = (health, values) {
        health::check(values, &read);
    }

    if let Some((read, total)) = readable(answers::describe_load_balancers(answer)) {
        assert_eq!(whole_number(member("TotalCount")), u64::try_from(total).ok());
        let values = member("LoadBalancerSet").as_array().map_or(&[][..], Vec::as_slice);
        assert!(!values.is_empty() || total == 0, "none is not all of them");
        let ids: Vec<_> = read.into_iter().map(|read| Some(read.load_balancer_id)).collect();
        let wanted: Vec<_> = values.iter().map(|value| line(&value["LoadBalancerId"])).collect();
        assert_eq!(ids, wanted);
    }

    let state = match whole_number(member("Status")) {
        Some(0) => Some(TaskState::Succeeded),
        Some(1) => Some(TaskState::Failed),
        Some(2) => Some(TaskState::Running),
        _ => None,
    };
    let task = readable(answers::describe_task_status(answer));
    assert_eq!(task.map(|task| task.state), state, "a task is where its Status says, or nowhere");
}

/// The object `Response` of an answer that is whole and no refusal.
fn response(answer: &[u8]) -> Option<Value> {
    let mut answer: Value = serde_json::from_slice(answer).ok()?;
    let response = answer.get_mut("Response")?.take();
    (response.is_object() && response["Error"].is_null()).then_some(response)
}

fn readable<T>(read: Result<T, Failure>) -> Option<T> {
    read.map_err(|failure| one_line(&failure.to_string())).ok()
}

/// Gaps of both kinds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps {
    pub(crate) no_value: usize,
    pub(crate) unreadable: usize,
}

impl Gaps {
    pub(crate) fn of(gaps: &[Gap]) -> Self {
        gaps.iter().for_each(shown);
        let count = |kind| gaps.iter().filter(|gap| gap.kind == kind).count();
        Self { no_value: count(GapKind::NoValue), unreadable: count(GapKind::Unreadable) }
    }
}

impl AddAssign for Gaps {
    fn add_assign(&mut self, other: Self) {
        self.no_value += other.no_value;
        self.unreadable += other.unreadable;
    }
}

fn listeners(values: &[Value], read: &Listeners) {
    let mut found = read.listeners.iter();
    let mut gaps = Gaps::default();
    for value in values {
        match line(&value["ListenerId"]) {
            None => gaps.unreadable += 1,
            Some(id) => {
                let read = found.next();
                assert_eq!(read.map(|read| &read.listener_id), Some(&id), "a listener is lost");
                read.iter().for_each(|read| gaps += listener(value, read));
            }
        }
    }
    assert!(found.next().is_none(), "a listener that is not in the answer");
    assert_eq!(Gaps::of(&read.gaps), gaps, "each part that could not be read is told, once");
    assert_eq!(read.is_complete(), gaps == Gaps::default());
}

/// Holds a listener against its JSON, and returns which gaps it must have left.
fn listener(value: &Value, read: &Listener) -> Gaps {
    let targets = value["Targets"].as_array();
    let rules = value["Rules"].as_array();
    let protocol = line(&value["Protocol"]).map(|protocol| protocol.to_ascii_uppercase());
    assert_eq!(read.protocol, protocol);
    assert_eq!(read.port.map(u64::from), port(&value["Port"]));
    let misses = match protocol.as_deref() {
        Some("HTTP" | "HTTPS") => rules.is_none(),
        Some("TCP" | "UDP" | "TCP_SSL" | "QUIC") => targets.is_none(),
        _ => rules.is_none() && targets.is_none(),
    };
    let mut gaps = no_list(misses, &[&value["Targets"], &value["Rules"]]);
    gaps.unreadable += backends(targets, read.targets.as_deref());
    assert_eq!(read.rules.is_some(), rules.is_some(), "no value is not empty");
    let mut found = read.rules.iter().flatten();
    for value in rules.into_iter().flatten() {
        if value.is_object() {
            let read = found.next();
            assert!(read.is_some(), "a rule is lost");
            read.iter().for_each(|read| gaps += rule(value, read));
        } else {
            gaps.unreadable += 1;
        }
    }
    assert!(found.next().is_none(), "a rule that is not in the answer");
    gaps
}

fn rule(value: &Value, read: &Rule) -> Gaps {
    assert_eq!(read.location_id, line(&value["LocationId"]));
    let targets = value["Targets"].as_array();
    let mut gaps = no_list(targets.is_none(), &[&value["Targets"]]);
    gaps.unreadable += backends(targets, read.targets.as_deref());
    gaps
}

/// The gaps of a place with these `lists`. Only what is missing or `null` may be taken for empty.
pub(crate) fn no_list(misses: bool, lists: &[&Value]) -> Gaps {
    let unreadable = lists.iter().filter(|list| !list.is_null() && !list.is_array()).count();
    Gaps { no_value: usize::from(misses && unreadable == 0), unreadable }
}

/// Holds rows against their JSON, and returns how many are no rows: each of them is a gap.
fn backends(values: Option<&Vec<Value>>, read: Option<&[Target]>) -> usize {
    assert_eq!(values.is_some(), read.is_some(), "no value is not empty");
    let mut found = read.unwrap_or_default().iter();
    let mut left_out = 0;
    for value in values.into_iter().flatten() {
        let Some((ips, port)) = backend(value) else {
            left_out += 1;
            continue;
        };
        let read = found.next();
        assert_eq!(read.map(|read| (&read.private_ips, u64::from(read.port))), Some((&ips, port)));
        let weight = whole_number(&value["Weight"]).filter(|weight| *weight <= 100);
        let known = read.and_then(|read| match &read.weight {
            Weight::Known(weight) => Some(u64::from(*weight)),
            Weight::Unknown(why) => {
                one_line(why);
                None
            }
        });
        assert_eq!(known, weight, "a weight that is not in the answer, in {value}");
    }
    assert!(found.next().is_none(), "a row that is not in the answer");
    left_out
}

/// Addresses and port of a backend that can be told from others.
fn backend(value: &Value) -> Option<(Vec<IpAddr>, u64)> {
    let port = port(value.as_object()?.get("Port")?)?;
    let many = match &value["PrivateIpAddresses"] {
        Value::Null => &[],
        other => other.as_array()?.as_slice(),
    };
    let one = Some(&value["PrivateIp"]).filter(|ip| !ip.is_null());
    let ips: Option<Vec<IpAddr>> =
        many.iter().chain(one).map(|ip| ip.as_str()?.trim().parse().ok()).collect();
    ips.filter(|ips| !ips.is_empty()).map(|ips| (ips, port))
}

pub(crate) fn port(value: &Value) -> Option<u64> {
    whole_number(value).filter(|port| *port <= u64::from(u16::MAX))
}

/// A number as it is written, which leaves no room for rounding or for another type.
fn whole_number(value: &Value) -> Option<u64> {
    value.as_number()?.to_string().parse().ok()
}

/// A text on one line, cut; `None` where there is nothing to see.
pub(crate) fn line(value: &Value) -> Option<String> {
    let blank = |c: char| c.is_control() || c.is_whitespace();
    let words: Vec<&str> = value.as_str()?.split(blank).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    let cut: String = line.chars().take(TEXT_MAX_CHARS - 1).collect();
    let line = if cut == line { line } else { cut + "…" };
    (!line.is_empty()).then_some(line)
}

/// What a log, an Event or a condition gets of it is one line.
fn shown(gap: &Gap) {
    one_line(&gap.to_string());
}

pub(crate) fn one_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "more than a line: {text:?}");
    // Some texts are made of a few of them, and of our own words.
    assert!(text.chars().count() <= 5 * TEXT_MAX_CHARS, "a text without a bound: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader with a fault would make of the sample.
    fn read_wrong(harm: impl FnOnce(&mut Listeners)) {
        let sample = crate::SAMPLES[0].as_bytes();
        let values = response(sample).unwrap()["Listeners"].as_array().unwrap().clone();
        let mut read = answers::describe_targets(sample).unwrap();
        listeners(&values, &read);
        harm(&mut read);
        listeners(&values, &read);
    }

    fn first(read: &mut Listeners) -> &mut Vec<Target> {
        read.listeners.iter_mut().find_map(|listener| listener.targets.as_mut()).unwrap()
    }

    #[test]
    #[should_panic(expected = "a weight that is not in the answer")]
    fn a_weight_from_nowhere() {
        read_wrong(|read| first(read)[0].weight = Weight::Known(0));
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn a_lost_row() {
        read_wrong(|read| drop(first(read).remove(0)));
    }

    #[test]
    #[should_panic(expected = "no value is not empty")]
    fn an_empty_list_from_nowhere() {
        read_wrong(|read| read.listeners[0].targets = Some(Vec::new()));
    }

    #[test]
    #[should_panic(expected = "a listener is lost")]
    fn a_lost_listener() {
        read_wrong(|read| drop(read.listeners.pop()));
    }

    #[test]
    #[should_panic(expected = "each part that could not be read is told, once")]
    fn a_gap_that_is_not_told() {
        let values = [serde_json::json!({"ListenerId": "lbl-1", "Protocol": "TCP"})];
        let listener = Listener {
            listener_id: "lbl-1".to_owned(),
            protocol: Some("TCP".to_owned()),
            port: None,
            end_port: None,
            targets: None,
            rules: None,
        };
        listeners(&values, &Listeners { listeners: vec![listener], gaps: vec![] });
    }
}
