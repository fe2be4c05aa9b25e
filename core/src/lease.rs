//! Who leads: what to do next about a Lease, decided without a cluster and without a clock.
//!
//! No wall clock is compared with another machine's. A holder is taken for gone when its record has
//! not changed for the duration that the record itself names, by *our* monotonic clock. A leader
//! believes in itself until [`Settings::renew_deadline`] after the *start* of its last good renewal,
//! which is earlier than anybody else may take over.

use std::time::Duration;

/// Times of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long others leave a silent holder alone.
    pub lease: Duration,
    /// How long a leader that cannot renew believes in itself. Less than `lease`.
    pub renew_deadline: Duration,
    /// Time between two looks.
    pub retry: Duration,
}

impl Default for Settings {
    /// 15 s, 10 s, 2 s: what Kubernetes' own components use.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The Lease object, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`: the precondition of the next write.
    pub version: String,
    /// `spec.holderIdentity`; empty where it was released.
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    pub lease: Duration,
    /// `spec.leaseTransitions`.
    pub transitions: i32,
}

/// What this process remembers of the Lease between two looks. Times are since its own start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    version: Option<String>,
    changed_at: Duration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no Lease: create it with us as the holder.
    Create,
    /// Write ourselves into it, under the precondition of `version`.
    Write {
        /// The version that was looked at.
        version: String,
        /// `spec.leaseTransitions` to write.
        transitions: i32,
        /// We held it before.
        renewal: bool,
    },
    /// Somebody else holds it.
    Wait,
}

/// Decides what to do about the Lease that was just read at `now` (monotonic, since our start).
pub fn evaluate(memory: &mut Memory, record: Option<&Record>, me: &str, now: Duration) -> Step {
    let Some(record) = record else { return Step::Create };
    if memory.version.as_deref() != Some(&record.version) {
        memory.version = Some(record.version.clone());
        memory.changed_at = now;
    }
    let renewal = record.holder == me;
    let silent = now.saturating_sub(memory.changed_at) >= record.lease;
    if renewal || record.holder.is_empty() || silent {
        let transitions =
            if renewal { record.transitions } else { record.transitions.saturating_add(1) };
        return Step::Write { version: record.version.clone(), transitions, renewal };
    }
    Step::Wait
}

/// Until when a leader believes in itself, after a write that *began* at `began` succeeded.
#[must_use]
pub fn valid_until(began: Duration, settings: &Settings) -> Duration {
    began.saturating_add(settings.renew_deadline.min(settings.lease))
}
