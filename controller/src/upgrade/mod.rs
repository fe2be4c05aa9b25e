//! Upgrades of StatefulSets: looks at those that Lameduck put `OnDelete` on, and carries out what core plans.
//! Leader only.
//!
//! ```text
//! watches of metadata: which sets --> look: everything read anew -> core::upgrade::plan
//!                        ^              -> the status, if it is another one; else the one action
//!                        `-- again, in half a second while anything is under way
//! ```
//! One set is looked at by one task at a time. Nothing that matters is in memory: who begins to lead reads
//! the same objects, and goes on.

mod balancers;
mod calls;
mod carry_out;
mod convert;
mod desk;
mod gather;
mod health;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::ResourceExt;
use lameduck_api::Upgrade;
use lameduck_core::drain::{EventReason, EventText};
use lameduck_core::text::chain;
use lameduck_core::upgrade::object::Phase;
use lameduck_core::upgrade::{Action, Told, events, plan};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clb::Api;
use crate::engine::Clock;
use crate::events::{Events, Subject};
use crate::index::{PodKey, SharedIndex};
use crate::leader::Leadership;
use crate::metrics::Metrics;

pub use balancers::Reads;

use balancers::Histories;
use calls::{CallError, Calls};
use desk::Desk;
use gather::{Gathered, Glance};
use watch::News;

/// Sets that are looked at at once. A look is some six reads of the API server.
const LOOKS_AT_ONCE: usize = 8;
/// Time to the next look while something is under way: containers that end and CLBs that obey tell no watch
/// of ours.
const ACTIVE: Duration = Duration::from_millis(500);
/// The same for an upgrade that waits for somebody: a budget, a person, a load balancer.
const WAITING: Duration = Duration::from_secs(5);
/// The same for a set that is not upgraded, although pods of it have another revision.
const RESTING: Duration = Duration::from_secs(60);
/// Time between two looks at who leads.
const LEAD_EVERY: Duration = Duration::from_millis(250);
/// Steps of one look: status and action in turn. What is left is done in the next.
const STEPS_MAX: usize = 8;

/// Upgrades StatefulSets.
pub struct Upgrader<A> {
    /// Policies, namespaces, Ingresses.
    pub index: SharedIndex,
    /// The cluster.
    pub client: Client,
    /// The CLB API; None where load balancers are not read.
    pub api: Option<A>,
    /// The image of the container that counts connections of pods without a hold.
    pub hold_image: String,
    /// Who leads.
    pub leadership: Leadership,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// The wall clock.
    pub clock: Clock,
    /// Reads of load balancers, which upgrades share.
    pub reads: Reads,
}

impl<A> std::fmt::Debug for Upgrader<A> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Upgrader")
    }
}

/// When to look again.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Something was done, so there may be more to do.
    Again,
    /// After a while.
    In(Duration),
    /// When a watch says so.
    WhenTold,
}

/// What is kept of one upgrade between two looks. Nothing of it matters that cannot be found out again.
#[derive(Debug, Default)]
struct Memory {
    /// What load balancers said of its pods.
    histories: Histories,
    /// Pods, by UID, to which no container could be added that counts. Why.
    refusals: HashMap<Box<str>, String>,
    /// Where it was.
    phase: Option<Phase>,
    /// What the API server refused last, which somebody has been told.
    refused: Option<String>,
}

type Memories = Arc<Mutex<HashMap<PodKey, Memory>>>;

impl<A: Api> Upgrader<A> {
    /// Upgrades until `stop`, then waits for the looks that are on their way.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LEAD_EVERY) => {}
            }
            // Half of the policies would look like un-enrolled sets.
            if this.leadership.is_held() && this.index.with(|index| index.is_synced()) {
                this.lead(&stop).await;
            }
        }
    }

    /// Upgrades for as long as this replica leads.
    async fn lead(self: &Arc<Self>, stop: &CancellationToken) {
        let mut desk = Desk::default();
        let mut news = watch::news(&self.client);
        let mut lead = tokio::time::interval(LEAD_EVERY);
        loop {
            while desk.looks.len() < LOOKS_AT_ONCE
                && let Some(key) = desk.queue.pop()
            {
                let thorough = desk.weighted.has(&key);
                let memories = Arc::clone(&desk.memories);
                let look = Arc::clone(self).look(key.clone(), thorough, memories);
                let id = desk.looks.spawn(look).id();
                desk.queue.begin(id, key);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = lead.tick() => if !self.leadership.is_held() {
                    break;
                },
                Some(ended) = desk.looks.join_next_with_id(), if !desk.looks.is_empty() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, Some(result)),
                        Err(error) => {
                            warn!(%error, "A look at an upgrade did not end in order.");
                            (error.id(), None)
                        }
                    };
                    desk.ended(id, result, &self.metrics);
                }
                Some(due) = desk.queue.due.next(), if !desk.queue.due.is_empty() => {
                    let key = due.into_inner();
                    desk.queue.due_keys.remove(&key);
                    desk.queue.push(key);
                }
                Some(news) = news.next() => match news {
                    News::Look(key) => desk.queue.push(key),
                    News::Weights(service, sets) => {
                        for set in desk.weighted.set(service, sets) {
                            desk.queue.push(set);
                        }
                    }
                },
            }
        }
        while desk.looks.join_next().await.is_some() {}
        self.metrics.upgrades([]);
    }

    /// Looks at a set: as many steps as follow from one another. Returns when to look again; None: when a
    /// watch says so.
    async fn look(
        self: Arc<Self>,
        key: PodKey,
        thorough: bool,
        memories: Memories,
    ) -> Result<Option<Duration>, CallError> {
        let calls = Calls::new(self.client.clone(), &key.namespace);
        let lock = || memories.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = lock().remove(&key).unwrap_or_default();
        let mut next = Ok(Next::Again);
        for _ in 0..STEPS_MAX {
            next = self.step(&calls, &key, thorough, &mut memory).await;
            if !matches!(next, Ok(Next::Again)) {
                break;
            }
        }
        let wait = match next {
            // So many steps in a row are no upgrade's: somebody takes back what we write.
            Ok(Next::Again) => Ok(Some(ACTIVE)),
            Ok(Next::In(wait)) => Ok(Some(wait)),
            Ok(Next::WhenTold) => Ok(None),
            Err(error) => Err(error),
        };
        let mut memories = lock();
        if !matches!(wait, Ok(None)) {
            memories.insert(key, memory);
        }
        let open = |phase: &Phase| !phase.is_over();
        let phases = memories.values().filter_map(|memory| memory.phase).filter(open);
        self.metrics.upgrades(phases.map(Phase::as_str));
        wait
    }

    /// Reads, plans, and does one thing.
    async fn step(
        &self,
        calls: &Calls,
        key: &PodKey,
        thorough: bool,
        memory: &mut Memory,
    ) -> Result<Next, CallError> {
        if !self.leadership.is_held() {
            return Ok(Next::WhenTold);
        }
        let glance = Glance::read(calls, &key.name).await?;
        if glance.is_idle() && !thorough {
            return Ok(Next::WhenTold);
        }
        let gathered = self.gather(calls, key, glance, memory).await?;
        memory.phase = gathered.facts.upgrade.as_ref().map(|upgrade| upgrade.status.phase);
        let planned = plan(&gathered.facts, (self.clock)());
        let stored = gathered.facts.upgrade.as_ref().map(|upgrade| &upgrade.status);
        if planned.action.is_some() || planned.status.as_ref() != stored {
            // Everything was read between two looks at the Upgrade, so it belongs together. The model checker
            // shows what comes of it otherwise.
            let still = calls.upgrade(&key.name).await?;
            let version = |upgrade: &Option<Upgrade>| {
                upgrade.as_ref().and_then(ResourceExt::resource_version)
            };
            if version(&still) != version(&gathered.upgrade) {
                return Ok(Next::Again);
            }
        }
        // Asked as late as can be: what follows writes.
        if !self.leadership.is_held() {
            return Ok(Next::WhenTold);
        }
        if let Some(status) = planned.status {
            match (&gathered.upgrade, stored) {
                (None, _) => {
                    let uid = gathered.set.as_ref().and_then(ResourceExt::uid).unwrap_or_default();
                    self.timed("upgrade", calls.create_upgrade(&key.name, &uid)).await?;
                    return Ok(Next::Again);
                }
                (Some(upgrade), Some(stored)) if *stored != status => {
                    let news = events(stored, &status);
                    if stored.phase != status.phase || stored.reason != status.reason {
                        info!(
                            namespace = &*key.namespace,
                            stateful_set = &*key.name,
                            phase = status.phase.as_str(),
                            reason = status.reason,
                            message = status.message,
                            "An upgrade goes on."
                        );
                    }
                    self.timed("upgrade_status", calls.store_status(upgrade, status)).await?;
                    for Told { text, pod } in news {
                        self.say(key, &gathered, pod, text);
                    }
                    return Ok(Next::Again);
                }
                _ => {}
            }
        }
        if let Some(action) = &planned.action {
            debug!(
                namespace = &*key.namespace,
                stateful_set = &*key.name,
                ?action,
                "An upgrade takes a step."
            );
            let done = carry_out::carry_out(calls, &gathered, action, &self.hold_image);
            match (self.timed("upgrade_step", done).await, action) {
                (Ok(text), _) => {
                    memory.refused = None;
                    if let Some(text) = text {
                        self.say(key, &gathered, None, text);
                    }
                }
                // Clusters may forbid it. That is nothing to try again; core knows what then.
                (Err(error), Action::Count { uid, .. }) if error.is_refusal() => {
                    memory.refusals.insert(uid.clone(), chain(&error));
                }
                (Err(error), _) => {
                    if error.is_refusal() {
                        self.tell_refusal(key, &gathered, memory, chain(&error));
                    }
                    return Err(error);
                }
            }
            return Ok(Next::Again);
        }
        Ok(if planned.active {
            Next::In(ACTIVE)
        } else if is_open(&gathered) {
            Next::In(WAITING)
        } else if gathered.set.is_some() {
            // Not everywhere the newest revision, and still nothing to do: a policy says so, and no watch
            // tells us of that.
            Next::In(RESTING)
        } else {
            Next::WhenTold
        })
    }

    async fn timed<T>(
        &self,
        call: &'static str,
        done: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let began = Instant::now();
        let result = done.await;
        let label = result.as_ref().map_or_else(CallError::label, |_| "ok");
        self.metrics.call(call, label, began.elapsed());
        result
    }

    /// Once for each that is another one.
    fn tell_refusal(&self, key: &PodKey, gathered: &Gathered, memory: &mut Memory, why: String) {
        if memory.refused.as_ref() != Some(&why) {
            let note = format!("a step of the upgrade is refused, and tried again: {why}");
            let text = EventText::new(EventReason::UpgradeRefused, note);
            self.say(key, gathered, None, text);
            memory.refused = Some(why);
        }
    }

    fn say(&self, key: &PodKey, gathered: &Gathered, pod: Option<String>, text: EventText) {
        // A set that is gone takes no event.
        if let Some(uid) = gathered.set.as_ref().and_then(ResourceExt::uid) {
            self.events.send_about(Subject::StatefulSet, key, &uid, pod, text);
        }
    }
}

/// Whether an upgrade waits for something.
fn is_open(gathered: &Gathered) -> bool {
    let status = gathered.facts.upgrade.as_ref().map(|upgrade| upgrade.status.phase);
    gathered.set.is_some() && status.is_some_and(|phase| !phase.is_over())
}
