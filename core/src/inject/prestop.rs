//! The preStop of one container: the hold, with the author's own hook inside it.
//!
//! | author's hook | result |
//! |---|---|
//! | none | the hold |
//! | exec, sleep, httpGet over HTTP | the hold, which runs it once traffic is off |
//! | httpGet over HTTPS, or to a port that has no number | kept as it is, no hold in this container |
//! | tcpSocket | the hold: the kubelet never ran such a hook |

use serde::Serialize;

use super::view::{Container, Handler, HttpGet, IntOrString, Port};
use crate::{
    names::{HOLD_BINARY_PATH, HOLD_SERVICE},
    policy::{Hold, Until},
};

/// What happens to the preStop of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PreStop {
    /// The hold is there already.
    Present,
    /// The hold, as a command line.
    Hold(Vec<String>),
    /// A native sleep.
    Sleep(u32),
    /// The author's own hook stays.
    Keep(Keep),
    /// Nothing is there and nothing is put there.
    Nothing,
}

/// Why an author's hook stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The policy asks for no hold, and a sleep cannot be put beside the hook.
    NoHoldWanted,
    /// The hold speaks no TLS.
    Https,
    /// The port's name stands for no port of the container.
    UnknownPort,
    /// Delivery is impossible, and a sleep cannot be put beside the hook.
    NoDelivery,
}

/// The facts of the pod that every container's hold gets.
pub(super) struct HoldFacts<'a> {
    pub(super) hold: &'a Hold,
    pub(super) original_grace_seconds: i64,
    pub(super) tcp_ports: &'a [u16],
    /// The pod shares its node's network.
    pub(super) host_network: bool,
}

impl HoldFacts<'_> {
    /// Whether the pod's connections cannot be told from those of its node: it shares the node's
    /// network and lists no port. Waiting for all of them would hold to the last second.
    pub(super) fn is_node_wide(&self) -> bool {
        self.host_network && self.tcp_ports.is_empty()
    }
}

/// Decides for one container. `deliverable`: the hold's binary can be mounted into it.
pub(super) fn decide(
    container: &Container<'_>,
    facts: &HoldFacts<'_>,
    deliverable: bool,
) -> PreStop {
    let own = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if own.is_some_and(is_hold) {
        return PreStop::Present;
    }
    let wanted = facts.hold.until != Until::Off;
    if !wanted || !deliverable {
        return match (own, facts.hold.sleep_seconds) {
            (Some(_), _) if wanted => PreStop::Keep(Keep::NoDelivery),
            (Some(_), _) => PreStop::Keep(Keep::NoHoldWanted),
            (None, 0) => PreStop::Nothing,
            (None, seconds) => PreStop::Sleep(seconds),
        };
    }
    match own.map_or(Ok(Vec::new()), |own| wrap(own, container)) {
        Ok(hook) => PreStop::Hold(command(container, facts, hook)),
        Err(keep) => PreStop::Keep(keep),
    }
}

/// A preStop as the API takes it.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Hook<'a> {
    Exec { command: &'a [String] },
    Sleep { seconds: u32 },
}

/// The hook for a decision that changes something.
pub(super) fn hook(decision: &PreStop) -> Option<Hook<'_>> {
    match decision {
        PreStop::Hold(command) => Some(Hook::Exec { command }),
        PreStop::Sleep(seconds) => Some(Hook::Sleep { seconds: *seconds }),
        PreStop::Present | PreStop::Keep(_) | PreStop::Nothing => None,
    }
}

fn is_hold(handler: &Handler<'_>) -> bool {
    handler
        .exec
        .as_ref()
        .and_then(|exec| exec.command.as_deref())
        .and_then(<[_]>::first)
        .is_some_and(|program| &**program == HOLD_BINARY_PATH)
}

fn command(container: &Container<'_>, facts: &HoldFacts<'_>, hook: Vec<String>) -> Vec<String> {
    let hold = facts.hold;
    let until = match hold.until {
        _ if facts.is_node_wide() => "TrafficOff",
        Until::ConnectionsClosed | Until::Off => "ConnectionsClosed",
        Until::ConnectionsIdle => "ConnectionsIdle",
        Until::TrafficOff => "TrafficOff",
    };
    let mut command: Vec<String> = vec![
        HOLD_BINARY_PATH.to_owned(),
        "wait".to_owned(),
        "--controller".to_owned(),
        HOLD_SERVICE.to_owned(),
        "--container".to_owned(),
        container.name.to_string(),
        "--until".to_owned(),
        until.to_owned(),
        "--max-seconds".to_owned(),
        hold.max_seconds.to_string(),
        "--idle-seconds".to_owned(),
        hold.idle_seconds.to_string(),
        "--unreachable-seconds".to_owned(),
        hold.unreachable_seconds.to_string(),
        "--grace-seconds".to_owned(),
        facts.original_grace_seconds.to_string(),
    ];
    for port in facts.tcp_ports {
        command.extend(["--port".to_owned(), port.to_string()]);
    }
    command.extend(hook);
    command
}

/// The author's hook as arguments of the hold.
fn wrap(own: &Handler<'_>, container: &Container<'_>) -> Result<Vec<String>, Keep> {
    if let Some(exec) = &own.exec {
        let command = exec.command.as_deref().unwrap_or_default();
        if command.is_empty() {
            return Ok(Vec::new());
        }
        return Ok(std::iter::once("--".to_owned())
            .chain(command.iter().map(|word| word.to_string()))
            .collect());
    }
    if let Some(sleep) = &own.sleep {
        let seconds = sleep.seconds.max(0).to_string();
        return Ok(vec!["--pre-stop-sleep-seconds".to_owned(), seconds]);
    }
    own.http_get.as_ref().map_or(Ok(Vec::new()), |get| wrap_get(get, container))
}

fn wrap_get(get: &HttpGet<'_>, container: &Container<'_>) -> Result<Vec<String>, Keep> {
    if get.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("HTTPS")) {
        return Err(Keep::Https);
    }
    let port = match &get.port {
        Some(IntOrString::Int(port)) => u16::try_from(*port).ok().filter(|port| *port != 0),
        Some(IntOrString::String(name)) => named_port(name, container),
        None => None,
    }
    .ok_or(Keep::UnknownPort)?;
    let host = get.host.as_deref().unwrap_or_default();
    // An address of IPv6 stands in brackets in a URL.
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let path = get.path.as_deref().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut words =
        vec!["--pre-stop-http-get".to_owned(), format!("http://{host}:{port}{slash}{path}")];
    for header in get.http_headers.iter().flatten() {
        words.push("--pre-stop-http-header".to_owned());
        words.push(format!("{}: {}", &*header.name, &*header.value));
    }
    Ok(words)
}

/// The kubelet resolves a name among the ports of the same container, and takes digits as a number.
fn named_port(name: &str, container: &Container<'_>) -> Option<u16> {
    container
        .ports
        .iter()
        .flatten()
        .find(|port| port.name.as_deref() == Some(name))
        .map_or_else(|| name.parse().ok().filter(|port| *port != 0), Port::number)
}
