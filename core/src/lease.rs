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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One process of the model. Its own clock is `now + offset`; clocks run alike, as monotonic ones do.
    #[derive(Clone, Debug)]
    struct Process {
        name: String,
        offset: Duration,
        memory: Memory,
        valid_until: Duration,
    }

    /// What happens in one step of the model.
    #[derive(Clone, Copy, Debug)]
    enum Happens {
        /// So many milliseconds pass.
        Time(u64),
        /// A process looks, and its write arrives after so many milliseconds, or never.
        Look { who: usize, delay_millis: u64, lost: bool },
        /// A process gives the lease back, if it leads.
        Release(usize),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            (0_u64..8_000).prop_map(Happens::Time),
            (0_usize..3, 0_u64..4_000, any::<bool>())
                .prop_map(|(who, delay_millis, lost)| Happens::Look { who, delay_millis, lost }),
            (0_usize..3).prop_map(Happens::Release),
        ]
    }

    proptest! {
        /// Whatever the order of looks, lost answers and slow writes: never two leaders.
        #[test]
        fn never_two_leaders(script in proptest::collection::vec(happens(), 1..200)) {
            let settings = Settings::default();
            let mut processes: Vec<Process> = (0..3_u64)
                .map(|n| Process {
                    name: format!("replica-{n}"),
                    // Each started at another time.
                    offset: Duration::from_secs(n * 1000),
                    memory: Memory::default(),
                    valid_until: Duration::ZERO,
                })
                .collect();
            let mut record: Option<Record> = None;
            let mut version = 0_u64;
            let mut now = Duration::ZERO;
            for step in script {
                match step {
                    Happens::Time(millis) => now += Duration::from_millis(millis),
                    Happens::Look { who, delay_millis, lost } => {
                        let process = &mut processes[who];
                        let began = now + process.offset;
                        let me = process.name.clone();
                        let step = evaluate(&mut process.memory, record.as_ref(), &me, began);
                        if step == Step::Wait {
                            process.valid_until = Duration::ZERO;
                            continue;
                        }
                        now += Duration::from_millis(delay_millis);
                        version += 1;
                        record = Some(Record {
                            version: version.to_string(),
                            holder: me,
                            lease: settings.lease,
                            transitions: 0,
                        });
                        // A lost answer: the write was made, and the writer does not know.
                        if !lost {
                            processes[who].valid_until = valid_until(began, &settings);
                        }
                    }
                    Happens::Release(who) => {
                        let process = &mut processes[who];
                        let leads = now + process.offset < process.valid_until;
                        if let Some(record) = record.as_mut()
                            && leads
                            && record.holder == process.name
                        {
                            process.valid_until = Duration::ZERO;
                            version += 1;
                            record.version = version.to_string();
                            record.holder.clear();
                        }
                    }
                }
                let leaders =
                    processes.iter().filter(|p| now + p.offset < p.valid_until).count();
                prop_assert!(leaders <= 1, "{leaders} leaders at {now:?}: {processes:?}");
            }
        }
    }

    fn record(holder: &str, version: &str) -> Record {
        let lease = Duration::from_secs(15);
        Record { version: version.into(), holder: holder.into(), lease, transitions: 4 }
    }

    #[test]
    fn a_silent_holder_is_replaced_after_its_lease_and_not_before() {
        let mut memory = Memory::default();
        let at = Duration::from_secs;
        assert_eq!(evaluate(&mut memory, None, "me", at(0)), Step::Create);
        // However old the record is: nobody knows how long it has been silent before we looked.
        assert_eq!(evaluate(&mut memory, Some(&record("other", "7")), "me", at(100)), Step::Wait);
        assert_eq!(evaluate(&mut memory, Some(&record("other", "7")), "me", at(114)), Step::Wait);
        assert_eq!(evaluate(&mut memory, Some(&record("other", "8")), "me", at(115)), Step::Wait);
        assert_eq!(evaluate(&mut memory, Some(&record("other", "8")), "me", at(129)), Step::Wait);
        assert_eq!(
            evaluate(&mut memory, Some(&record("other", "8")), "me", at(130)),
            Step::Write { version: "8".into(), transitions: 5, renewal: false }
        );
    }

    #[test]
    fn a_released_lease_is_free_and_our_own_is_renewed() {
        let mut memory = Memory::default();
        let at = Duration::from_secs;
        assert!(matches!(
            evaluate(&mut memory, Some(&record("", "1")), "me", at(0)),
            Step::Write { renewal: false, .. }
        ));
        assert_eq!(
            evaluate(&mut memory, Some(&record("me", "2")), "me", at(2)),
            Step::Write { version: "2".into(), transitions: 4, renewal: true }
        );
    }

    #[test]
    fn belief_ends_before_anybody_may_take_over() {
        let settings = Settings::default();
        assert!(valid_until(Duration::ZERO, &settings) < settings.lease);
    }
}
