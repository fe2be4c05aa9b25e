//! What goes into the machine, and what comes out of it.

use std::time::Duration;

use crate::args::Until;
use crate::census::Extent;

/// What the machine has to know about its policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// What to wait for.
    pub(crate) until: Until,
    /// The longest hold.
    pub(crate) max: Duration,
    /// The least time to hold without a controller.
    pub(crate) unreachable: Duration,
    /// The longest run of the user's own preStop.
    pub(crate) grace: Duration,
    /// The user has a preStop of their own.
    pub(crate) has_pre_stop: bool,
}

/// What a controller says about the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody deleted the pod: its container is restarted.
    NotTerminating,
    /// New traffic may still come.
    Holding,
    /// No new traffic comes.
    TrafficOff,
    /// A person let the pod go.
    Released,
}

/// A controller's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// Time from now until the hold has to be over.
    pub(crate) deadline: Option<Duration>,
}

/// How far the hold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// New traffic may still come.
    WaitingForTraffic,
    /// The user's own preStop runs.
    PreStop,
    /// The connections that are left have to close.
    WaitingForConnections,
}

/// A question to a controller, to be answered by [`super::Machine::on_answer`] or [`super::Machine::on_silence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poll {
    /// How far the hold is.
    pub(crate) phase: Phase,
    /// The verdict that the hold last got; another one is answered at once.
    pub(crate) known: Option<Verdict>,
    /// Connections in the last sample, where they can be counted.
    pub(crate) connections: Option<u64>,
    /// How long the controller may wait for another verdict.
    pub(crate) wait: Duration,
}

/// Why the hold is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Traffic was off and no connection was left.
    ConnectionsClosed,
    /// Traffic was off and only idle connections were left.
    ConnectionsIdle,
    /// Traffic was off, and nothing else was to be waited for, or could be.
    TrafficOff,
    /// A person let the pod go.
    Released,
    /// There was no time left.
    DeadlineExceeded,
    /// The pod was not being deleted.
    NotTerminating,
    /// As much as could be done without a controller was done.
    Unreachable,
}

/// What to do now. Everything but `wake_in` is given once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Next {
    /// The hold is over; nothing else is set.
    pub(crate) finish: Option<Outcome>,
    /// Take a sample now and hand it in.
    pub(crate) sample: Option<Extent>,
    /// Start the user's preStop, which gets so long, and hand in its end.
    pub(crate) start_pre_stop: Option<Duration>,
    /// Ask a controller.
    pub(crate) poll: Option<Poll>,
    /// Come back after so long, or as soon as there is news.
    pub(crate) wake_in: Duration,
}

/// How long each part took, and what was left at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Until traffic was off.
    pub(crate) traffic: Duration,
    /// The user's own preStop.
    pub(crate) pre_stop: Duration,
    /// From then on, until the connections had ended.
    pub(crate) connections: Duration,
    /// Connections in the last sample.
    pub(crate) connections_left: u64,
}
