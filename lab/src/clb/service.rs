//! The service as a whole: what it knows, behind one lock, and the worker that completes its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::admin::TargetWeight;
use super::calls::Calls;
use super::credentials::Credentials;
use super::faults::Faults;
use super::limiter::Limiter;
use super::plane::Plane;
use super::signature::hex;
use super::state::State;
use super::tke;

/// How long the worker sleeps where nothing is due: a lost wake-up costs no more.
const IDLE: Duration = Duration::from_secs(1);

/// What the service knows.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) state: State,
    pub(super) credentials: Credentials,
    pub(super) faults: Faults,
    pub(super) limiter: Limiter,
    pub(super) calls: Calls,
    pub(super) tke: tke::Settings,
    pub(super) tke_errors: Vec<tke::SyncError>,
    /// Load balancers that the data plane must look at without a task.
    dirty: BTreeSet<String>,
    requests: u64,
}

/// The service.
#[derive(Debug, Default)]
pub struct Service {
    world: Mutex<World>,
    changed: Notify,
}

impl Service {
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the worker look at the tasks.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Lets the data plane follow the load balancer `id` as it is.
    pub(super) fn touch(&self, id: &str) {
        self.lock().dirty.insert(id.to_owned());
        self.wake();
    }

    /// Sets weights, all at one moment, which it returns: calls that came later read them.
    pub fn weigh(&self, weights: &[TargetWeight]) -> Timestamp {
        let mut of: BTreeMap<&str, Vec<(IpAddr, u32)>> = BTreeMap::new();
        for TargetWeight { load_balancer_id, ip, weight } in weights {
            of.entry(load_balancer_id).or_default().push((*ip, *weight));
        }
        let mut world = self.lock();
        let now = Timestamp::now();
        for (id, weights) in of {
            world.state.set_weights(id, &weights, now);
            world.dirty.insert(id.to_owned());
        }
        drop(world);
        self.wake();
        now
    }

    /// Completes tasks when they are due. Never ends.
    pub(super) async fn work(self: Arc<Self>, plane: Plane) {
        loop {
            let now = Timestamp::now();
            let (dirty, due) = {
                let mut world = self.lock();
                let dirty = std::mem::take(&mut world.dirty);
                let found: Vec<_> =
                    dirty.iter().filter_map(|id| world.state.get(id).cloned()).collect();
                (found, world.state.due(now))
            };
            for one in dirty {
                if let Err(error) = plane.follow(&one).await {
                    eprintln!("the data plane does not follow {}: {error:#}", one.id);
                }
            }
            for task in due {
                let after = self.lock().state.after(&task, now);
                let failure = match after {
                    Some(after) => plane.follow(&after).await.err(),
                    None => None,
                };
                let failure = failure.map(|error| format!("{error:#}"));
                self.lock().state.complete(&task, failure, Timestamp::now());
            }
            let next = self.lock().state.next_due();
            let pause = next.map_or(IDLE, |due| {
                let left = due.duration_since(Timestamp::now());
                Duration::try_from(left).unwrap_or(Duration::ZERO).min(IDLE)
            });
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }
}

impl World {
    /// A fresh id in the form of a UUID of version 4.
    pub(super) fn request_id(&mut self, now: Timestamp) -> String {
        self.requests += 1;
        let text = format!("{}/{}", now.as_nanosecond(), self.requests);
        let hash = hex(&Sha256::digest(text.as_bytes()));
        let part = |range: std::ops::Range<usize>| hash.get(range).unwrap_or_default();
        format!(
            "{}-{}-4{}-8{}-{}",
            part(0..8),
            part(8..12),
            part(12..15),
            part(15..18),
            part(18..30)
        )
    }
}
