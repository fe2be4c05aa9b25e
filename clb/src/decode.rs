//! Members of an answer, read leniently: any may be missing, `null` or of a type that nobody
//! expected, and new ones may come. What cannot be read is absent or a gap, never a default.

use std::net::IpAddr;

use serde_json::Value;

use crate::error::Failure;
use crate::rows::{Gap, GapKind, Listener, Listeners, Rule, Target, Weight};
use crate::text::one_line;

/// The API's largest weight.
pub(crate) const WEIGHT_MAX: u8 = 100;

/// A text that is there and not blank.
pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().map(one_line).filter(|text| !text.is_empty())
}

/// A name whose case varies.
pub(crate) fn upper(value: &Value) -> Option<String> {
    text(value).map(|text| text.to_ascii_uppercase())
}

/// A port.
pub(crate) fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

/// The texts of a list; whatever is no text is left out.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text).collect()
}

/// A list that must be there: without one, "empty" would be a guess.
///
/// # Errors
/// [`Failure::Unexpected`] where it is missing, `null`, or no list.
pub(crate) fn list<'a>(response: &'a Value, name: &str) -> Result<&'a [Value], Failure> {
    let value = response.get(name).unwrap_or(&Value::Null);
    value.as_array().map(Vec::as_slice).ok_or_else(|| Failure::Unexpected {
        detail: format!("there is no list {name}, but {}", kind(value)),
    })
}

/// What a value is, for an error's text.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn weight(value: &Value) -> Weight {
    match value.as_u64().map(u8::try_from) {
        Some(Ok(weight)) if weight <= WEIGHT_MAX => Weight::Known(weight),
        _ if value.is_number() => Weight::Unknown(format!("{value} is not in 0..=100")),
        _ => Weight::Unknown(format!("no number, but {}", kind(value))),
    }
}

/// The listeners of `values`, with their rules and backends.
pub(crate) fn listeners(values: &[Value]) -> Listeners {
    let mut gaps = Vec::new();
    let listeners = values.iter().filter_map(|value| listener(value, &mut gaps)).collect();
    Listeners { listeners, gaps }
}

/// Where in an answer the reader is.
pub(crate) struct Place<'a> {
    pub(crate) listener_id: Option<&'a str>,
    pub(crate) location_id: Option<&'a str>,
    pub(crate) gaps: &'a mut Vec<Gap>,
}

impl Place<'_> {
    pub(crate) fn gap(&mut self, kind: GapKind, detail: impl Into<String>) {
        self.gaps.push(Gap {
            listener_id: self.listener_id.map(str::to_owned),
            location_id: self.location_id.map(str::to_owned),
            kind,
            detail: detail.into(),
        });
    }

    /// A list that is wanted here: what is missing is a gap, whatever is there instead.
    pub(crate) fn wanted<'v>(&mut self, value: &'v Value, name: &str) -> Option<&'v [Value]> {
        if value.is_null() {
            self.gap(GapKind::NoValue, format!("no {name}"));
        }
        self.list(value, name)
    }

    /// A list, where there is one. `null` is the caller's to judge; anything else is a gap.
    pub(crate) fn list<'v>(&mut self, value: &'v Value, name: &str) -> Option<&'v [Value]> {
        match value {
            Value::Null => None,
            Value::Array(items) => Some(items),
            other => {
                self.gap(GapKind::Unreadable, format!("{name} is {}, no list", kind(other)));
                None
            }
        }
    }
}

fn listener(value: &Value, gaps: &mut Vec<Gap>) -> Option<Listener> {
    let Some(listener_id) = text(&value["ListenerId"]) else {
        let mut place = Place { listener_id: None, location_id: None, gaps };
        place.gap(GapKind::Unreadable, "a listener without ListenerId");
        return None;
    };
    let mut place = Place { listener_id: Some(&listener_id), location_id: None, gaps };
    let before = place.gaps.len();
    let target_values = place.list(&value["Targets"], "Targets");
    let rule_values = place.list(&value["Rules"], "Rules");
    let protocol = upper(&value["Protocol"]);
    // Each kind of listener has one of the two lists; the other says nothing about it.
    let (has_value, wanted) = match protocol.as_deref() {
        Some("HTTP" | "HTTPS") => (rule_values.is_some(), "no Rules"),
        Some("TCP" | "UDP" | "TCP_SSL" | "QUIC") => (target_values.is_some(), "no Targets"),
        _ => (rule_values.is_some() || target_values.is_some(), "neither Targets nor Rules"),
    };
    if !has_value && place.gaps.len() == before {
        place.gap(GapKind::NoValue, wanted);
    }
    let targets = target_values.map(|values| targets(values, &mut place));
    let rules = rule_values.map(|values| {
        values.iter().filter_map(|value| rule(value, &listener_id, place.gaps)).collect()
    });
    Some(Listener {
        protocol,
        port: port(&value["Port"]),
        end_port: port(&value["EndPort"]).filter(|end| *end > 0),
        targets,
        rules,
        listener_id,
    })
}

fn rule(value: &Value, listener_id: &str, gaps: &mut Vec<Gap>) -> Option<Rule> {
    let location_id = text(&value["LocationId"]);
    let mut place =
        Place { listener_id: Some(listener_id), location_id: location_id.as_deref(), gaps };
    if !value.is_object() {
        place.gap(GapKind::Unreadable, format!("a rule that is {}", kind(value)));
        return None;
    }
    let values = place.wanted(&value["Targets"], "Targets");
    let targets = values.map(|values| targets(values, &mut place));
    Some(Rule { domain: text(&value["Domain"]), url: text(&value["Url"]), targets, location_id })
}

fn targets(values: &[Value], place: &mut Place<'_>) -> Vec<Target> {
    values
        .iter()
        .filter_map(|value| {
            target(value).map_err(|detail| place.gap(GapKind::Unreadable, detail)).ok()
        })
        .collect()
}

/// A backend; `PrivateIpAddresses` in DescribeTargets, `PrivateIp` in DescribeLBListeners.
fn target(value: &Value) -> Result<Target, String> {
    if !value.is_object() {
        return Err(format!("a backend that is {}", kind(value)));
    }
    let many = match &value["PrivateIpAddresses"] {
        Value::Null => &[],
        Value::Array(ips) => ips.as_slice(),
        // It may hide the address that somebody looks for.
        other => return Err(format!("a backend whose PrivateIpAddresses is {}", kind(other))),
    };
    let one = value.get("PrivateIp").filter(|ip| !ip.is_null());
    let mut private_ips = Vec::new();
    for ip in many.iter().chain(one) {
        let parsed = ip.as_str().and_then(|ip| ip.trim().parse::<IpAddr>().ok());
        private_ips.push(
            parsed.ok_or_else(|| {
                format!("a backend with the address {}", one_line(&ip.to_string()))
            })?,
        );
    }
    if private_ips.is_empty() {
        return Err("a backend without a private address".to_owned());
    }
    let port = port(&value["Port"])
        .ok_or_else(|| format!("the backend {} without a port", private_ips[0]))?;
    Ok(Target {
        backend_type: upper(&value["Type"]),
        instance_id: text(&value["InstanceId"]),
        eni_id: text(&value["EniId"]),
        private_ips,
        port,
        weight: weight(&value["Weight"]),
        registered_time: text(&value["RegisteredTime"]),
    })
}
