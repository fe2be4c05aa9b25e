//! What a hold reports when it ends, and what becomes of it: the `Drained` condition and an event.

use jiff::Timestamp;
use serde::Deserialize;

use super::facts::{Condition, ConditionStatus, Deletion};
use super::reason::{EventReason, EventText};
use crate::time::clock;

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Outcome {
    /// Every connection has closed.
    ConnectionsClosed,
    /// Every connection that is left is idle.
    ConnectionsIdle,
    /// Traffic is off; the application ends its connections by itself.
    TrafficOff,
    /// The deadline came first.
    DeadlineExceeded,
    /// The pod was not being deleted.
    NotTerminating,
    /// A person let the pod go.
    Released,
    /// No controller could be asked; the hold decided alone.
    Unreachable,
}

impl Outcome {
    /// The word in the condition and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionsClosed => "ConnectionsClosed",
            Self::ConnectionsIdle => "ConnectionsIdle",
            Self::TrafficOff => "TrafficOff",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::NotTerminating => "NotTerminating",
            Self::Released => "Released",
            Self::Unreachable => "Unreachable",
        }
    }
}

/// The last word of a hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Milliseconds that it waited for traffic to be off.
    #[serde(default)]
    pub traffic_millis: u64,
    /// Milliseconds that the container's own preStop took.
    #[serde(default)]
    pub pre_stop_millis: u64,
    /// Milliseconds that it waited for connections.
    #[serde(default)]
    pub connections_millis: u64,
    /// Connections that were left.
    #[serde(default)]
    pub connections_left: u64,
    /// The container's main process has no handler for SIGTERM.
    #[serde(default)]
    pub sigterm_ignored: bool,
    /// What else it has to say.
    #[serde(default)]
    pub message: String,
}

/// Bytes of a hold's own message that are kept: it comes from inside a user's pod.
const MESSAGE_BYTES_MAX: usize = 256;

/// The `Drained` condition after a report of one container, and its events.
///
/// A pod with several containers gets several reports; the worst one stays. A hold that ended because
/// its pod is not terminating drained nothing and changes nothing.
#[must_use]
pub fn drained(
    current: Option<&Condition>,
    container: &str,
    report: &Report,
    deletion: &Deletion,
    now: Timestamp,
) -> (Option<Condition>, Vec<EventText>) {
    let seconds = |millis: u64| format!("{}.{} s", millis / 1000, millis % 1000 / 100);
    let waited = format!(
        "container {container}: {} for traffic, {} for its own preStop, {} for connections",
        seconds(report.traffic_millis),
        seconds(report.pre_stop_millis),
        seconds(report.connections_millis),
    );
    let left = match report.connections_left {
        0 => "no connection is left".to_owned(),
        1 => "1 connection is left".to_owned(),
        n => format!("{n} connections are left"),
    };
    let (status, event) = match report.outcome {
        Outcome::NotTerminating => return (None, Vec::new()),
        Outcome::ConnectionsClosed | Outcome::ConnectionsIdle | Outcome::TrafficOff => {
            (ConditionStatus::True, EventReason::Drained)
        }
        Outcome::DeadlineExceeded => (ConditionStatus::False, EventReason::DeadlineExceeded),
        Outcome::Released => (ConditionStatus::False, EventReason::LetGo),
        Outcome::Unreachable => (ConditionStatus::Unknown, EventReason::ControllerUnreachable),
    };
    let own: String = report
        .message
        .chars()
        .filter(|c| !c.is_control())
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= MESSAGE_BYTES_MAX).then_some(c)
        })
        .collect();
    let mut message = format!("{waited}; {left}");
    if !own.is_empty() {
        message.push_str(&format!("; the hold says: {own}"));
    }
    let mut events = vec![EventText::new(event, message.clone())];
    if report.sigterm_ignored {
        let lives_on = format!(
            "container {container} has no handler for SIGTERM, so that it lives until its kubelet kills \
             it at {}; handle SIGTERM, or lower hold.maxSeconds of its policy",
            clock(deletion.killed_at())
        );
        events.push(EventText::new(EventReason::SigtermIgnored, lives_on.clone()));
        message.push_str(&format!("; {lives_on}"));
    }
    let worse_stands = current.is_some_and(|current| rank(current.status) > rank(status));
    let condition = (!worse_stands).then(|| Condition {
        status,
        reason: report.outcome.as_str().into(),
        message: message.into(),
        since: now,
    });
    (condition, events)
}

/// Which condition stays where two containers report: the higher one.
const fn rank(status: ConditionStatus) -> u8 {
    match status {
        ConditionStatus::True => 0,
        ConditionStatus::Unknown => 1,
        ConditionStatus::False => 2,
    }
}
