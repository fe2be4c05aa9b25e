//! The hold's decisions: facts in, the next steps out. Pure; time is an argument.
//!
//! ```text
//! WaitingForTraffic --traffic off--> PreStop --ended--> WaitingForConnections --quiet--> over
//!        any of them --deadline--> the user's preStop, if it has not run --> over
//!        any of them --let go by a person--> the same
//!        any of them --not terminating--> the user's preStop --> over
//! ```
//!
//! Every time is the time since the hold began. The hold's own clock decides nothing that has to
//! survive a restart: the kubelet may start a hold anew at any moment, so the deadline comes from the
//! controller, who counts from the pod's deletion. Without a controller it is `max` from the start.

use std::time::Duration;

use crate::args::Until;
use crate::census::Sample;

mod count;
mod samples;
mod terms;

pub(crate) use count::{Count, End, Step};
use samples::Samples;
pub(crate) use terms::{Answer, Next, Outcome, Phase, Policy, Poll, Times, Verdict};

/// The longest question; the protocol's limit is 20 s.
const POLL_WAIT: Duration = Duration::from_secs(20);
/// The same once connections are waited for: the poll is also how their number is told.
const POLL_WAIT_WHILE_COUNTING: Duration = Duration::from_secs(5);
/// Between two questions, even to a controller that does not wait.
const POLL_GAP: Duration = Duration::from_millis(250);
/// After the first failed question, doubled with each further one up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(4);

/// The state of one hold.
#[derive(Debug)]
pub(crate) struct Machine {
    policy: Policy,
    deadline: Duration,
    /// The deadline is a controller's, not only the policy's bound.
    deadline_heard: bool,
    /// What a controller said last.
    known: Option<Verdict>,
    /// A controller said that the pod is being deleted: from then on it is.
    terminating: bool,
    /// A controller said that traffic is off. It stays so: an endpoint that went does not come back to
    /// a deleted pod, and a controller that lags behind another does not bring it back.
    traffic_off: bool,
    /// Since when no controller answers.
    silent_since: Option<Duration>,
    failures: u32,
    /// Nobody deleted the pod.
    let_go: bool,
    /// A person let the pod go, whatever is there.
    released: bool,
    polling: bool,
    poll_at: Duration,
    pre_stop: PreStop,
    /// Since when connections are waited for, without a break.
    counting_since: Option<Duration>,
    samples: Samples,
    traffic_off_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum PreStop {
    None,
    Waiting,
    Running { since: Duration },
    Ended { at: Duration, took: Duration },
}

/// Whether new traffic may come, as far as the hold knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    On,
    /// A controller said so.
    Off,
    /// No controller answers, and the least time to hold is over.
    PerhapsOff,
}

impl Machine {
    /// A hold that begins now, at time zero.
    pub(crate) fn new(policy: Policy) -> Self {
        // As the kubelet: without any grace no preStop runs.
        let runs = policy.has_pre_stop && !policy.grace.is_zero();
        Self {
            policy,
            deadline: policy.max,
            deadline_heard: false,
            known: None,
            terminating: false,
            traffic_off: false,
            silent_since: Some(Duration::ZERO),
            failures: 0,
            let_go: false,
            released: false,
            polling: false,
            poll_at: Duration::ZERO,
            pre_stop: if runs { PreStop::Waiting } else { PreStop::None },
            counting_since: None,
            samples: Samples::default(),
            traffic_off_at: None,
        }
    }

    /// What to do at `now`.
    pub(crate) fn next(&mut self, now: Duration) -> Next {
        let traffic = self.traffic(now);
        if traffic != Traffic::On {
            self.traffic_off_at.get_or_insert(now);
        }
        let in_time = now < self.deadline && !self.released;
        let mut next = Next::default();
        match self.pre_stop {
            PreStop::Waiting if traffic != Traffic::On || !in_time || self.let_go => {
                self.pre_stop = PreStop::Running { since: now };
                next.start_pre_stop = Some(self.policy.grace);
            }
            PreStop::Waiting | PreStop::Running { .. } => {}
            PreStop::None | PreStop::Ended { .. } => {
                if let Some(outcome) = self.outcome(now, traffic, in_time) {
                    return finish(outcome);
                }
            }
        }
        if self.phase(traffic) == Phase::WaitingForConnections {
            if self.counting_since.is_none() {
                self.counting_since = Some(now);
                self.samples.restart(now);
            }
        } else {
            self.counting_since = None;
        }
        next.sample = self.samples.due(now);
        if next.sample.is_some() {
            // The poll is to carry what the sample finds.
            return next;
        }
        if !self.polling && now >= self.poll_at {
            self.polling = true;
            next.poll = Some(self.poll(traffic));
        }
        next.wake_in = self.wake_in(now, traffic);
        next
    }

    /// Takes in a controller's answer.
    pub(crate) fn on_answer(&mut self, now: Duration, answer: Answer) {
        self.polling = false;
        self.failures = 0;
        self.silent_since = None;
        self.poll_at = now + POLL_GAP;
        if let Some(left) = answer.deadline {
            // Once heard it is never shortened: a later delete with less grace, or by force, does not
            // shorten what the kubelet waits for, and a controller that has just started sees only that
            // one. Never beyond what the pod's grace period was made for.
            let heard = if self.deadline_heard { self.deadline } else { Duration::ZERO };
            self.deadline = now.saturating_add(left).max(heard).min(self.policy.max);
            self.deadline_heard = true;
        }
        self.known = Some(answer.verdict);
        match answer.verdict {
            // The controller says so only by a fresh read, not from its cache: the deletion that a
            // preStop can follow is in there.
            Verdict::NotTerminating => self.let_go |= !self.terminating,
            Verdict::Holding => self.terminating = true,
            Verdict::TrafficOff => (self.terminating, self.traffic_off) = (true, true),
            Verdict::Released => (self.terminating, self.released) = (true, true),
        }
    }

    /// Takes in that a question got no answer that can be used.
    pub(crate) fn on_silence(&mut self, now: Duration) {
        self.polling = false;
        self.silent_since.get_or_insert(now);
        let retry = RETRY_MIN.saturating_mul(1 << self.failures.min(8)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.poll_at = now + retry;
    }

    /// Takes in a sample: what it found, whether by that the container is free, and what it cost. None
    /// where connections cannot be counted.
    pub(crate) fn on_sample(
        &mut self,
        now: Duration,
        sample: Option<(Sample, bool)>,
        cost: Duration,
    ) {
        self.samples.take_in(now, sample, cost, self.counting_since.is_some());
    }

    /// Takes in that the user's preStop ended, in whatever way.
    pub(crate) fn on_pre_stop_end(&mut self, now: Duration) {
        if let PreStop::Running { since } = self.pre_stop {
            self.pre_stop = PreStop::Ended { at: now, took: now.saturating_sub(since) };
        }
    }

    /// For how long connections have been waited for.
    pub(crate) fn waited_for_connections(&self, now: Duration) -> Duration {
        self.counting_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Whether the next sample is the first of those that the end depends on.
    pub(crate) fn counts_anew(&self, now: Duration) -> bool {
        self.counting_since == Some(now)
    }

    /// How long each part took until `now`.
    pub(crate) fn times(&self, now: Duration) -> Times {
        let traffic = self.traffic_off_at.unwrap_or(now);
        let (pre_stop, behind) = match self.pre_stop {
            PreStop::None => (Duration::ZERO, traffic),
            PreStop::Waiting => (Duration::ZERO, now),
            PreStop::Running { since } => (now.saturating_sub(since), now),
            PreStop::Ended { at, took } => (took, at),
        };
        Times {
            traffic,
            pre_stop,
            connections: now.saturating_sub(behind),
            connections_left: self.samples.last().map_or(0, |sample| sample.seen),
        }
    }

    fn traffic(&self, now: Duration) -> Traffic {
        if self.traffic_off {
            return Traffic::Off;
        }
        match self.silent_since {
            Some(since) if now.saturating_sub(since) >= self.policy.unreachable => {
                Traffic::PerhapsOff
            }
            _ => Traffic::On,
        }
    }

    fn phase(&self, traffic: Traffic) -> Phase {
        match (self.pre_stop, traffic) {
            (PreStop::Running { .. }, _) => Phase::PreStop,
            (_, Traffic::On) => Phase::WaitingForTraffic,
            // The preStop starts as soon as traffic is off.
            (PreStop::Waiting, _) => Phase::PreStop,
            (PreStop::None | PreStop::Ended { .. }, _) => Phase::WaitingForConnections,
        }
    }

    /// Whether it is over, once the user's preStop is.
    fn outcome(&self, now: Duration, traffic: Traffic, in_time: bool) -> Option<Outcome> {
        if self.let_go {
            return Some(Outcome::NotTerminating);
        }
        if self.released {
            return Some(Outcome::Released);
        }
        if !in_time {
            return Some(Outcome::DeadlineExceeded);
        }
        let waited = self.waited_for_connections(now);
        let cannot_count = self.counting_since.is_some()
            && self.samples.last().is_none()
            && waited >= self.policy.unreachable;
        match (traffic, self.policy.until) {
            (Traffic::On, _) => None,
            (Traffic::PerhapsOff, Until::TrafficOff) => Some(Outcome::Unreachable),
            (Traffic::Off, Until::TrafficOff) => Some(Outcome::TrafficOff),
            (Traffic::PerhapsOff, _) => {
                (self.samples.is_over() || cannot_count).then_some(Outcome::Unreachable)
            }
            (Traffic::Off, _) if cannot_count => Some(Outcome::TrafficOff),
            (Traffic::Off, _) if !self.samples.is_over() => None,
            (Traffic::Off, Until::ConnectionsIdle) => Some(Outcome::ConnectionsIdle),
            (Traffic::Off, Until::ConnectionsClosed) => Some(Outcome::ConnectionsClosed),
        }
    }

    fn poll(&self, traffic: Traffic) -> Poll {
        let phase = self.phase(traffic);
        let counting = phase == Phase::WaitingForConnections;
        let wait = if counting { POLL_WAIT_WHILE_COUNTING } else { POLL_WAIT };
        let connections = self.samples.last().map(|sample| sample.seen);
        // After a silence any answer is news: whether somebody is there must not take a long poll.
        let known = self.known.filter(|_| self.silent_since.is_none());
        Poll { phase, known, connections, wait }
    }

    fn wake_in(&self, now: Duration, traffic: Traffic) -> Duration {
        let unreachable_at = match (traffic, self.silent_since) {
            (Traffic::On, Some(since)) => Some(since.saturating_add(self.policy.unreachable)),
            _ => None,
        };
        let poll_at = (!self.polling).then_some(self.poll_at);
        let deadline = (now < self.deadline).then_some(self.deadline);
        [Some(self.samples.next_at()), unreachable_at, poll_at, deadline]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_sub(now))
            .fold(samples::RARELY, Duration::min)
            .max(Duration::from_millis(1))
    }
}

fn finish(outcome: Outcome) -> Next {
    Next { finish: Some(outcome), ..Next::default() }
}

#[cfg(test)]
mod tests;
