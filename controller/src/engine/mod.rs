//! Drains: looks at pods when something changed or a time has come, and carries out what core decides.
//!
//! ```text
//! index: dirty pods --.
//! due times ----------+--> look: facts -> core::drain::decide -> at most one write -> look again
//! retries ------------'         (leader only, asked again at the write)
//! ```
//! One pod has at most one write on its way. A pod whose writes fail waits alone.

#[cfg(test)]
mod tests;
mod writes;

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use lameduck_core::drain::{Decision, EndpointFacts, Finalizer, RemoveReason, Traffic, decide};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::queue::{Failure, Queue};
use writes::{Job, Write};

use crate::confirm::Confirm;
use crate::events::Events;
use crate::index::{Index, Pod, PodKey, SharedIndex};
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::pods::{CallError, Pods};

/// Writes on their way at once. The API server answers in some 5 ms: far above the rate below.
const WRITES_AT_ONCE: usize = 32;
/// Writes per second, and how many may come at once: a drain of a large node is one burst.
const WRITES_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).unwrap();
const WRITES_BURST: NonZeroU32 = NonZeroU32::new(200).unwrap();
/// Backoff of one pod: first and longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// The longest time that is waited for at once; then the pod is looked at, and waited for again. Bounds
/// what a jump of the wall clock can do.
const DUE_MAX: Duration = Duration::from_secs(60);

/// Carries out decisions.
#[derive(Clone)]
pub struct Engine {
    /// What is known.
    pub index: SharedIndex,
    /// Calls.
    pub pods: Pods,
    /// Fresh reads.
    pub confirm: Confirm,
    /// Who leads.
    pub leadership: Leadership,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// The wall clock.
    pub clock: Clock,
}

/// Tells the wall clock's time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

impl std::fmt::Debug for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Engine")
    }
}

impl Engine {
    /// Drains until `stop`, then waits for the writes that are on their way.
    pub async fn run(self, stop: CancellationToken) {
        let limit = Arc::new(RateLimiter::direct(
            Quota::per_second(WRITES_PER_SECOND).allow_burst(WRITES_BURST),
        ));
        let mut queue = Queue::default();
        let mut writes: JoinSet<Result<(), CallError>> = JoinSet::new();
        loop {
            while writes.len() < WRITES_AT_ONCE
                && let Some(key) = queue.pop()
            {
                if let Some(job) = self.look(&mut queue, &key) {
                    let write = self.clone().carry_out(job, Arc::clone(&limit));
                    let id = writes.spawn(write).id();
                    queue.begin(id, key);
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = writes.join_next_with_id(), if !writes.is_empty() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, result.map_err(Some)),
                        Err(panicked) => (panicked.id(), Err(None)),
                    };
                    self.ended(&mut queue, id, result);
                }
                Some(due) = queue.due.next(), if !queue.due.is_empty() => {
                    let key = due.into_inner();
                    queue.due_keys.remove(&key);
                    queue.push(key);
                }
                keys = self.index.dirty() => for key in keys {
                    queue.push(key);
                },
                () = self.leadership.gained() => self.index.with(Index::touch_all),
            }
        }
        while writes.join_next().await.is_some() {}
    }

    /// Looks at a pod: what is to be written now, or when to look again.
    fn look(&self, queue: &mut Queue, key: &PodKey) -> Option<Job> {
        if !self.leadership.is_held() {
            queue.failures.remove(key);
            return None;
        }
        // Half of the cluster's state gives wrong answers: the default in place of the pod's own policy.
        // What completes it brings every pod back here.
        if !self.index.with(|index| index.is_synced()) {
            return None;
        }
        let mono = Instant::now();
        if let Some(failure) = queue.failures.get(key)
            && !failure.outdated
            && failure.not_before > mono
        {
            let wait = failure.not_before - mono;
            queue.wait_for(key.clone(), wait);
            return None;
        }
        let known = self.index.with(|index| {
            let pod = index.pod(key).filter(|pod| pod.deletion.is_some() && pod.is_managed())?;
            Some((pod.clone(), index.facts(key, mono)?))
        });
        let Some((pod, (facts, endpoints))) = known else {
            queue.failures.remove(key);
            return None;
        };
        let now = (self.clock)();
        let decision = decide(&facts, &endpoints, now);
        let next_check = decision.next_check;
        let Some(write) = next_write(&pod, decision) else {
            if let Some(due) = next_check {
                let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
                // A millisecond more: the timer may be early by a fraction of one.
                queue.wait_for(key.clone(), wait.min(DUE_MAX) + Duration::from_millis(1));
            }
            return None;
        };
        let known_services = names(&endpoints);
        Some(Job { key: key.clone(), pod, known_services, write })
    }

    /// A write ended: look again, now or later.
    fn ended(&self, queue: &mut Queue, id: Id, result: Result<(), Option<CallError>>) {
        let Some((key, changed)) = queue.end(id) else { return };
        match result {
            Ok(()) => {
                queue.failures.remove(&key);
                queue.push(key);
            }
            Err(error) => {
                let outdated = error.as_ref().is_some_and(CallError::is_outdated);
                let backoff = queue
                    .failures
                    .get(&key)
                    .map_or(BACKOFF.0, |failure| (failure.backoff * 2).min(BACKOFF.1));
                let not_before = Instant::now() + backoff;
                queue.failures.insert(key.clone(), Failure { backoff, not_before, outdated });
                if changed && outdated {
                    queue.push(key);
                } else {
                    queue.wait_for(key, backoff);
                }
            }
        }
    }
}

/// The one write that comes next. The condition first, so that a new leader finds the proof that the
/// finalizer went by; but a pod that is given up, or let go by a person, does not wait for a condition that may
/// never succeed.
fn next_write(pod: &Pod, decision: Decision) -> Option<Write> {
    let goes_anyway =
        matches!(decision.finalizer, Finalizer::Remove(RemoveReason::GaveUp | RemoveReason::LetGo));
    if let Some(condition) = decision.condition
        && !goes_anyway
    {
        let turns_off = matches!(decision.traffic, Traffic::Off { recorded: false, .. });
        return Some(Write::Condition { condition, events: decision.condition_events, turns_off });
    }
    match (decision.finalizer, pod.finalizer_at) {
        (Finalizer::Remove(reason), Some(at)) => {
            Some(Write::Finalizer { at, reason, event: decision.finalizer_event })
        }
        _ => decision.nudge.map(Write::Nudge),
    }
}

/// Every Service that is known to have to do with the pod, `namespace/name`.
fn names(endpoints: &EndpointFacts) -> Vec<Arc<str>> {
    let selecting = endpoints.services.iter().map(|service| &service.name);
    let listing = endpoints.entries.iter().map(|entry| &entry.service);
    let names: HashSet<&Arc<str>> = selecting.chain(listing).collect();
    names.into_iter().cloned().collect()
}
