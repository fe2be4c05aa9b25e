//! The count of a pod's connections by an ephemeral container: what is added to the pod, and what its
//! state says.
//!
//! A pod that was made before Lameduck came has no hold in it, and its containers cannot be changed any
//! more. An ephemeral container can be added. It shares the pod's network, so `lameduck-hold count` sees
//! the same connections there as a hold would. It can neither be removed nor started again: a second
//! count is a second container.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::policy::Until;

/// What every name of ours begins with.
pub const PREFIX: &str = "lameduck-count";

/// The hold's binary in its own image.
const IMAGE_BINARY_PATH: &str = "/lameduck-hold";
/// User of the container where the pod names none, or root, as of the injected init container.
const USER: i64 = 65532;

/// Exit codes of `lameduck-hold count`.
const EXIT_CLOSED: i32 = 0;
const EXIT_LEFT: i32 = 3;

/// For how long a container may fail to start. The kubelet pulls an image again after 10 s and 20 s
/// more, so a minute is three failures of its own; a registry that is only slow does not fail.
const FAILING_SECONDS: u64 = 60;
/// For how long a container may be on its way without a failure that anybody names: the kubelet is too
/// old, or gone, or pulls a megabyte for five minutes.
const STARTING_SECONDS: u64 = 300;
/// For how much longer than its time a count may seem to run: it ends within seconds, and the kubelet
/// tells that within a minute, its own period of a full sync.
const OVERTIME_SECONDS: u64 = 60;
/// The longest part of a container's own words in a reason. An Event's message takes 1024 bytes.
const MAX_WORDS_CHARS: usize = 512;

/// What the container is made of.
#[derive(Clone, Copy, Debug)]
pub struct CensusFacts<'a> {
    /// The hold's image.
    pub image: &'a str,
    /// The container's name, from [`next_name`].
    pub name: &'a str,
    /// `hold.until` of the policy.
    pub until: Until,
    /// The longest count, in seconds.
    pub max_seconds: u32,
    /// `hold.idleSeconds` of the policy.
    pub idle_seconds: u32,
    /// TCP ports of the pod's containers. Empty: whatever listens.
    pub ports: &'a [u16],
    /// `spec.securityContext.runAsUser` of the pod.
    pub pod_user: Option<i64>,
    /// `spec.hostNetwork` of the pod.
    pub host_network: bool,
}

/// The ephemeral container, as an entry of `spec.ephemeralContainers`. None where there is nothing to
/// count: the policy waits for traffic alone or not at all, or the pod's connections cannot be told
/// from those of its node. A hold does not count there either.
///
/// It passes Pod Security *restricted*, and has none of what an ephemeral container must not have:
/// ports, probes, lifecycle, resources.
#[must_use]
pub fn container(facts: &CensusFacts<'_>) -> Option<Value> {
    if facts.host_network && facts.ports.is_empty() {
        return None;
    }
    let until = match facts.until {
        Until::ConnectionsClosed => "ConnectionsClosed",
        Until::ConnectionsIdle => "ConnectionsIdle",
        Until::TrafficOff | Until::Off => return None,
    };
    let mut command: Vec<String> = [
        IMAGE_BINARY_PATH,
        "count",
        "--until",
        until,
        "--max-seconds",
        &facts.max_seconds.to_string(),
        "--idle-seconds",
        &facts.idle_seconds.to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    for port in facts.ports {
        command.extend(["--port".to_owned(), port.to_string()]);
    }
    let mut container = json!({
        "name": facts.name,
        "image": facts.image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    if facts.pod_user.is_none_or(|user| user == 0) {
        container["securityContext"]["runAsUser"] = json!(USER);
    }
    Some(container)
}

/// The name of the next count in a pod that has ephemeral containers of these names.
#[must_use]
pub fn next_name(existing: &[&str]) -> String {
    let highest = existing.iter().filter_map(|name| number(name)).max().unwrap_or(0);
    // One above the highest number that is read at all, so never one that is there.
    format!("{PREFIX}-{}", u64::from(highest) + 1)
}

/// The latest count among a pod's ephemeral containers: the one whose state is to be looked at.
#[must_use]
pub fn latest<'a>(existing: &[&'a str]) -> Option<&'a str> {
    existing
        .iter()
        .filter_map(|name| Some((number(name)?, *name)))
        .max_by_key(|(number, _)| *number)
        .map(|(_, name)| name)
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.strip_prefix('-')?.parse().ok()
}

/// What is known of a count.
#[derive(Clone, Copy, Debug)]
pub struct CensusStatus<'a> {
    /// The container's state.
    pub state: CensusState<'a>,
    /// When it was added to the pod.
    pub added: Timestamp,
    /// The longest count, as the container was told, in seconds.
    pub max_seconds: u32,
}

/// `state` in the entry of `status.ephemeralContainerStatuses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CensusState<'a> {
    /// There is no entry for it, or one without a state.
    Unknown,
    /// It does not run yet.
    Waiting {
        /// `waiting.reason`; empty where missing.
        reason: &'a str,
        /// `waiting.message`; empty where missing.
        message: &'a str,
    },
    /// It runs.
    Running {
        /// `running.startedAt`.
        since: Timestamp,
    },
    /// It has ended.
    Terminated {
        /// `terminated.exitCode`.
        exit_code: i32,
        /// `terminated.message`; empty where missing.
        message: &'a str,
    },
}

/// What a count has come to, with a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is no result yet.
    Counting(String),
    /// The pod's connections have ended, as far as the policy asks for it.
    Closed(String),
    /// The time was over and some were left.
    Left(String),
    /// Nobody counts, or nobody can. What the pod has is unknown.
    Cannot(String),
}

/// What the state of a count says at `now`.
#[must_use]
pub fn outcome(status: &CensusStatus<'_>, now: Timestamp) -> Outcome {
    let waited = seconds_between(status.added, now);
    match status.state {
        CensusState::Unknown if waited > STARTING_SECONDS => {
            Outcome::Cannot(format!("the kubelet has said nothing of the count for {waited} s"))
        }
        CensusState::Unknown => {
            Outcome::Counting(format!("for {waited} s, and the kubelet has not taken the count up"))
        }
        CensusState::Waiting { reason, message } => waiting(reason, message, waited),
        CensusState::Running { since } => {
            let runs = seconds_between(since, now);
            let max = u64::from(status.max_seconds);
            if runs > max + OVERTIME_SECONDS {
                return Outcome::Cannot(format!(
                    "the count seems to run for {runs} s, and it takes {max} s at most: \
                     the kubelet does not report"
                ));
            }
            Outcome::Counting(format!("connections are counted for {runs} s, at most {max} s"))
        }
        CensusState::Terminated { exit_code: EXIT_CLOSED, message } => {
            Outcome::Closed(words(message, "connections have ended"))
        }
        CensusState::Terminated { exit_code: EXIT_LEFT, message } => {
            Outcome::Left(words(message, "connections are left"))
        }
        CensusState::Terminated { exit_code, message } => {
            let words = words(message, "it left no message");
            Outcome::Cannot(format!("the count ended with exit code {exit_code}: {words}"))
        }
    }
}

fn waiting(reason: &str, message: &str, waited: u64) -> Outcome {
    // On its way. Whatever else the kubelet names is a failure of this container: of its image, its
    // configuration, or a policy on the node; the list of them grows with the kubelet.
    let on_its_way = matches!(reason, "" | "ContainerCreating" | "PodInitializing");
    let why = if on_its_way {
        format!("the count has been on its way for {waited} s")
    } else {
        let words = words(message, "it says no more");
        format!("the count does not start for {waited} s: {reason}: {words}")
    };
    let patience = if on_its_way { STARTING_SECONDS } else { FAILING_SECONDS };
    if waited > patience { Outcome::Cannot(why) } else { Outcome::Counting(why) }
}

/// Two clocks may disagree: a time in the future has just been.
fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

/// Words of a container or a kubelet, as one short line.
fn words(message: &str, otherwise: &str) -> String {
    let mut line = message.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = line.by_ref().take(MAX_WORDS_CHARS).collect();
    if line.next().is_some() {
        short.push('…');
    }
    if short.is_empty() { otherwise.to_owned() } else { short }
}

#[cfg(test)]
mod tests;
