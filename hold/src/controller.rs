//! Asks the controllers about the pod, and reports to them, by the hold protocol.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dns::Resolver;
use crate::http::{self, Request};
use crate::identity::Identity;
use crate::machine::{Answer, Outcome, Phase, Poll, Times, Verdict};

/// Time to connect: controllers are in the cluster's own network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for an answer beyond what the controller was told it may wait.
const ANSWER_MARGIN: Duration = Duration::from_secs(3);
/// Time for the report. The container's SIGTERM waits for it.
const REPORT_TIMEOUT: Duration = Duration::from_millis(300);
/// Addresses that are tried for one question.
const MAX_ADDRESSES: usize = 4;

/// The controllers, and for whom they are asked.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    /// `HOST:PORT`, in the order in which they are tried.
    targets: Vec<String>,
    identity: Identity,
    container: String,
    resolver: Resolver,
    /// The address that answered last.
    last_good: Option<SocketAddr>,
}

/// Why no controller gave an answer that can be used: a line for each that was asked.
#[derive(Debug)]
pub(crate) struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the controllers are told at the end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    outcome: &'static str,
    traffic_millis: u64,
    pre_stop_millis: u64,
    connections_millis: u64,
    connections_left: u64,
    /// The main process has no handler for the SIGTERM that comes next.
    sigterm_ignored: bool,
    message: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    state: State,
    #[serde(default)]
    message: String,
    #[serde(default)]
    deadline_seconds: Option<f64>,
}

#[derive(Deserialize)]
enum State {
    NotTerminating,
    Holding,
    TrafficOff,
    Released,
}

impl Controller {
    /// Controllers at `targets`, `HOST:PORT` each.
    pub(crate) fn new(
        targets: Vec<String>,
        identity: Identity,
        container: String,
        resolver: Resolver,
    ) -> Self {
        Self { targets, identity, container, resolver, last_good: None }
    }

    /// Asks the one that answered last, or else all of them until one answers. The text is the
    /// controller's message for people.
    ///
    /// # Errors
    /// No controller could be asked, or none gave an answer that can be used.
    pub(crate) fn ask(&mut self, poll: &Poll) -> Result<(Answer, String), Error> {
        let target = self.poll_target(poll);
        // Without a verdict to compare with, the answer comes at once.
        let wait = if poll.known.is_some() { poll.wait } else { Duration::ZERO };
        let ask_one = |address| {
            let request =
                Request { method: "GET", target: &target, host: HOST, headers: &[], body: &[] };
            let response = http::send(address, &request, CONNECT_TIMEOUT, wait + ANSWER_MARGIN);
            let response = response.map_err(|error| error.to_string())?;
            read(&response)
        };
        if let Some(address) = self.last_good.take() {
            // A failure may have taken the whole wait already, so it is told at once. The next question
            // looks everybody up anew, and wants no wait.
            let answer = ask_one(address).map_err(|error| Error(format!("{address}: {error}")))?;
            self.last_good = Some(address);
            return Ok(answer);
        }
        let mut errors = String::new();
        let mut fail = |address: &dyn fmt::Display, error: &dyn fmt::Display| {
            if !errors.is_empty() {
                errors.push_str("; ");
            }
            errors.push_str(&format!("{address}: {error}"));
        };
        for target in &self.targets {
            let addresses = match self.addresses(target) {
                Ok(addresses) => addresses,
                Err(error) => {
                    fail(target, &error);
                    continue;
                }
            };
            for address in addresses.into_iter().take(MAX_ADDRESSES) {
                match ask_one(address) {
                    Ok(answer) => {
                        self.last_good = Some(address);
                        return Ok(answer);
                    }
                    Err(error) => fail(&address, &error),
                }
            }
        }
        if errors.is_empty() {
            errors.push_str("no --controller was given");
        }
        Err(Error(errors))
    }

    /// Reports the end to `address`. The container's end does not depend on it.
    ///
    /// # Errors
    /// The report did not get there; it is not sent again.
    pub(crate) fn report(
        &self,
        address: SocketAddr,
        outcome: Outcome,
        times: &Times,
        sigterm_ignored: bool,
        message: &str,
    ) -> Result<(), Error> {
        let Identity { namespace, name, uid, .. } = &self.identity;
        let target =
            format!("/v1/hold/{namespace}/{name}/report?uid={uid}&container={}", self.container);
        let report = Report {
            outcome: outcome_name(outcome),
            traffic_millis: times.traffic.as_millis() as u64,
            pre_stop_millis: times.pre_stop.as_millis() as u64,
            connections_millis: times.connections.as_millis() as u64,
            connections_left: times.connections_left,
            sigterm_ignored,
            message,
        };
        let body = serde_json::to_vec(&report).map_err(|error| Error(error.to_string()))?;
        let request =
            Request { method: "POST", target: &target, host: HOST, headers: &[], body: &body };
        match http::send(address, &request, REPORT_TIMEOUT, REPORT_TIMEOUT) {
            Ok(response) if (200..300).contains(&response.status) => Ok(()),
            Ok(response) => Err(Error(format!("{address}: HTTP {}", response.status))),
            Err(error) => Err(Error(format!("{address}: {error}"))),
        }
    }

    /// The address that answered last.
    pub(crate) fn last_good(&self) -> Option<SocketAddr> {
        self.last_good
    }

    fn addresses(&self, target: &str) -> Result<Vec<SocketAddr>, String> {
        let target = target.trim_start_matches("http://").trim_end_matches('/');
        let (host, port) =
            split_host_port(target).ok_or_else(|| "not of the form HOST:PORT".to_owned())?;
        let ips: Vec<IpAddr> = self.resolver.resolve(host).map_err(|error| error.to_string())?;
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    fn poll_target(&self, poll: &Poll) -> String {
        let Identity { namespace, name, uid, .. } = &self.identity;
        let phase = match poll.phase {
            Phase::WaitingForTraffic => "WaitingForTraffic",
            Phase::PreStop => "PreStop",
            Phase::WaitingForConnections => "WaitingForConnections",
        };
        let mut target = format!(
            "/v1/hold/{namespace}/{name}?uid={uid}&container={}&phase={phase}&wait={}",
            self.container,
            poll.wait.as_secs()
        );
        if let Some(connections) = poll.connections {
            target.push_str(&format!("&connections={connections}"));
        }
        if let Some(known) = poll.known {
            target.push_str("&state=");
            target.push_str(match known {
                Verdict::NotTerminating => "NotTerminating",
                Verdict::Holding => "Holding",
                Verdict::TrafficOff => "TrafficOff",
                Verdict::Released => "Released",
            });
        }
        target
    }
}

/// Value of the Host header: the Service's name, whichever address it has.
const HOST: &str = "lameduck-hold.lameduck-system:8080";

fn read(response: &http::Response) -> Result<(Answer, String), String> {
    if response.status != 200 {
        return Err(format!("HTTP {}", response.status));
    }
    let body: Body = serde_json::from_slice(&response.body)
        .map_err(|error| format!("the answer cannot be read: {error}"))?;
    let verdict = match body.state {
        State::NotTerminating => Verdict::NotTerminating,
        State::Holding => Verdict::Holding,
        State::TrafficOff => Verdict::TrafficOff,
        State::Released => Verdict::Released,
    };
    // A deadline that has passed is one of now. More than a duration can hold is none.
    let deadline = body
        .deadline_seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    Ok((Answer { verdict, deadline }, body.message))
}

/// The outcome's name in the protocol.
pub(crate) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::ConnectionsClosed => "ConnectionsClosed",
        Outcome::ConnectionsIdle => "ConnectionsIdle",
        Outcome::TrafficOff => "TrafficOff",
        Outcome::DeadlineExceeded => "DeadlineExceeded",
        Outcome::Released => "Released",
        Outcome::NotTerminating => "NotTerminating",
        Outcome::Unreachable => "Unreachable",
    }
}

/// `HOST:PORT`, with an IPv6 address in brackets. The host may be empty.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    match host.strip_prefix('[') {
        Some(host) => Some((host.strip_suffix(']')?, port)),
        None => (!host.contains(':')).then_some((host, port)),
    }
}

#[cfg(test)]
mod tests;
