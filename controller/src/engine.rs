//! Drains: looks at pods when something changed or a time has come, and carries out what core decides.
//!
//! ```text
//! index: dirty pods --.
//! due times ----------+--> look: facts -> core::drain::decide -> at most one write -> look again
//! retries ------------'         (leader only, asked again at the write)
//! ```
//! One pod has at most one write on its way. A pod whose writes fail waits alone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use lameduck_core::drain::{
    Condition, Decision, EndpointFacts, EventText, Finalizer, RemoveReason, Traffic, decide,
};
use lameduck_core::names::CONDITION_TRAFFIC_OFF;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::{DelayQueue, delay_queue};
use tracing::{info, warn};

use crate::events::Events;
use crate::index::{Index, Pod, PodKey, SharedIndex};
use crate::leader::Leadership;
use crate::metrics::{Metrics, Phase};
use crate::pods::{CallError, Pods};
use crate::text::chain;

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
    /// Who leads.
    pub leadership: Leadership,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Engine")
    }
}

/// What is to be written for one pod, and what was known when that was decided.
struct Job {
    key: PodKey,
    pod: Pod,
    known_services: Vec<Arc<str>>,
    write: Write,
}

enum Write {
    Condition { condition: Condition, event: Option<EventText>, turns_off: bool },
    Finalizer { at: usize, reason: RemoveReason, event: Option<EventText> },
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<PodKey>,
    queued: HashSet<PodKey>,
    due: DelayQueue<PodKey>,
    due_keys: HashMap<PodKey, delay_queue::Key>,
    busy: HashMap<Id, PodKey>,
    busy_keys: HashSet<PodKey>,
    /// Changed while busy.
    again: HashSet<PodKey>,
    failures: HashMap<PodKey, Failure>,
}

struct Failure {
    backoff: Duration,
    not_before: Instant,
    /// A change of the pod is worth a try at once.
    outdated: bool,
}

impl Queue {
    fn push(&mut self, key: PodKey) {
        if self.busy_keys.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    fn pop(&mut self) -> Option<PodKey> {
        let key = self.waiting.pop_front()?;
        self.queued.remove(&key);
        if let Some(due) = self.due_keys.remove(&key) {
            self.due.remove(&due);
        }
        Some(key)
    }

    fn wait_for(&mut self, key: PodKey, wait: Duration) {
        let due = self.due.insert(key.clone(), wait);
        if let Some(former) = self.due_keys.insert(key, due) {
            self.due.remove(&former);
        }
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
                    queue.busy.insert(id, key.clone());
                    queue.busy_keys.insert(key);
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
        let now = Timestamp::now();
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
        let Some(key) = queue.busy.remove(&id) else { return };
        queue.busy_keys.remove(&key);
        let changed = queue.again.remove(&key);
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

    async fn carry_out(
        self,
        job: Job,
        limit: Arc<DefaultDirectRateLimiter>,
    ) -> Result<(), CallError> {
        limit.until_ready().await;
        let began = Instant::now();
        let call = match &job.write {
            Write::Condition { .. } => "traffic_off_condition",
            Write::Finalizer { .. } => "finalizer",
        };
        let Job { key, pod, known_services, write } = job;
        let result = match write {
            Write::Condition { condition, event, turns_off } => {
                self.write_condition(&key, &pod, &known_services, condition, event, turns_off).await
            }
            Write::Finalizer { at, reason, event } => {
                self.remove_finalizer(&key, &pod, at, reason, event).await
            }
        };
        let label = result.as_ref().map_or_else(CallError::label, |()| "ok");
        self.metrics.call(call, label, began.elapsed());
        if let Err(error) = &result {
            warn!(
                namespace = &*key.namespace,
                pod = &*key.name,
                uid = &*pod.uid,
                call,
                error = %chain(error),
                "A write did not succeed; the pod is looked at again."
            );
        }
        result
    }

    async fn write_condition(
        &self,
        key: &PodKey,
        pod: &Pod,
        known_services: &[Arc<str>],
        condition: Condition,
        event: Option<EventText>,
        turns_off: bool,
    ) -> Result<(), CallError> {
        if turns_off {
            // The application gets its SIGTERM after this: the cache alone is not enough.
            let known: Vec<&str> = known_services.iter().map(|name| &**name).collect();
            self.pods.confirm_off(key, pod, &known).await?;
        }
        if !self.leadership.is_held() {
            return Err(CallError::NotLeading);
        }
        let version = Some(&*pod.version);
        let written =
            self.pods.write_condition(key, &pod.uid, version, CONDITION_TRAFFIC_OFF, &condition);
        let written = match written.await {
            // The object is gone, and with it everything there was to say about it.
            Err(error) if error.status() == Some(404) => return Ok(()),
            other => other?,
        };
        self.index.with(|index| index.apply_known_pod(written));
        info!(
            namespace = &*key.namespace,
            pod = &*key.name,
            uid = &*pod.uid,
            status = condition.status.as_str(),
            reason = &*condition.reason,
            message = &*condition.message,
            "Condition TrafficOff written."
        );
        if turns_off && let Some(deletion) = &pod.deletion {
            self.metrics.drain_phase(Phase::Traffic, since(deletion.requested_at));
        }
        if let Some(event) = event {
            self.events.send(key, &pod.uid, event);
        }
        Ok(())
    }

    async fn remove_finalizer(
        &self,
        key: &PodKey,
        pod: &Pod,
        at: usize,
        reason: RemoveReason,
        event: Option<EventText>,
    ) -> Result<(), CallError> {
        if !self.leadership.is_held() {
            return Err(CallError::NotLeading);
        }
        match self.pods.remove_finalizer(key, &pod.uid, at).await {
            Ok(()) => {}
            Err(error) if error.status() == Some(404) => {}
            Err(error) if error.status() == Some(422) => {
                // Another finalizer came or went, or the pod is another one: see what is there.
                if let Some(pod) = self.pods.get(key).await? {
                    self.index.with(|index| index.apply_known_pod(pod));
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        self.index.with(|index| index.finalizer_removed(key, &pod.uid));
        info!(
            namespace = &*key.namespace,
            pod = &*key.name,
            uid = &*pod.uid,
            reason = reason.as_str(),
            "Finalizer taken off."
        );
        self.metrics.released(reason.as_str());
        if let Some(deletion) = &pod.deletion {
            self.metrics.drain_phase(Phase::Total, since(deletion.requested_at));
        }
        if let Some(event) = event {
            self.events.send(key, &pod.uid, event);
        }
        Ok(())
    }
}

/// The one write that comes next. The condition first, so that a new leader finds the proof that the
/// finalizer went by; but a pod that is given up does not wait for a condition that may never succeed.
fn next_write(pod: &Pod, decision: Decision) -> Option<Write> {
    let gave_up = decision.finalizer == Finalizer::Remove(RemoveReason::GaveUp);
    if let Some(condition) = decision.condition
        && !gave_up
    {
        let turns_off = matches!(decision.traffic, Traffic::Off { recorded: false, .. });
        return Some(Write::Condition { condition, event: decision.condition_event, turns_off });
    }
    match (decision.finalizer, pod.finalizer_at) {
        (Finalizer::Remove(reason), Some(at)) => {
            Some(Write::Finalizer { at, reason, event: decision.finalizer_event })
        }
        _ => None,
    }
}

/// Every Service that is known to have to do with the pod, `namespace/name`.
fn names(endpoints: &EndpointFacts) -> Vec<Arc<str>> {
    let selecting = endpoints.services.iter().map(|service| &service.name);
    let listing = endpoints.entries.iter().map(|entry| &entry.service);
    let names: HashSet<&Arc<str>> = selecting.chain(listing).collect();
    names.into_iter().cloned().collect()
}

/// Time since then; zero where the clocks disagree.
fn since(at: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default()
}
