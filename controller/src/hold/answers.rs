//! The long poll.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use lameduck_api::state::HoldSeen;
use lameduck_core::drain::{Answer, HoldState, answer};
use lameduck_core::text::chain;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{Holds, Refusal, is_final};
use crate::index::{Kind, PodKey};

impl Holds {
    /// Answers at once where the state is not `known`, else when it changes, or after `wait`. Also says
    /// whether the answer comes from a watch that is not fresh.
    pub(super) async fn answer(
        &self,
        key: &PodKey,
        uid: &str,
        peer: IpAddr,
        known: Option<&str>,
        wait: Duration,
        said: HoldSeen,
    ) -> Result<(Answer, bool), Refusal> {
        let until = Instant::now() + wait;
        let mut slot = None;
        // Only a pod itself says how it is.
        self.own_pod(key, uid, peer)?;
        self.seen.take(said);
        loop {
            // Refused before anything is kept for it.
            self.own_pod(key, uid, peer)?;
            let waiter = self.index.with(|index| index.waiter(key)).ok_or(Refusal::UnknownPod)?;
            // Before the look: a change after it wakes us.
            let mut changed = std::pin::pin!(waiter.notified());
            changed.as_mut().enable();
            let pod = self.own_pod(key, uid, peer)?;
            let (facts, stale) = self.index.with(|index| {
                let now = Instant::now();
                (index.pod_facts(&pod, now), index.health(Kind::Pods).stale(now).is_some())
            });
            let answer = answer(&facts, Timestamp::now());
            if answer.state == HoldState::Alone {
                return Err(Refusal::MaybeEvicted);
            }
            if is_final(&answer) {
                // The kubelet may know of a deletion before our watch does. Nothing but a fresh read
                // lets a container go.
                self.may_call(uid)?;
                if self.is_terminating(key, uid).await? {
                    continue;
                }
                return Ok((answer, stale));
            }
            let is_over = self.stop.is_cancelled() || Instant::now() >= until;
            if known != Some(answer.state.as_str()) || is_over {
                return Ok((answer, stale));
            }
            if slot.is_none() {
                let permit = self.waiting.try_acquire().map_err(|_| Refusal::TooMany)?;
                slot = Some((permit, Waiting::new(self.metrics.hold_waiting())));
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Whether the pod is being deleted, by a fresh read, which the index then knows too.
    async fn is_terminating(&self, key: &PodKey, uid: &str) -> Result<bool, Refusal> {
        let permit = self.confirmations.acquire().await.map_err(|_| Refusal::NotConfirmed)?;
        let read = self.pods.get(key).await;
        drop(permit);
        match read {
            Ok(Some(pod)) if pod.metadata.uid == uid => {
                let terminating = pod.metadata.deletion_timestamp.is_some();
                if terminating {
                    self.index.with(|index| index.apply_known_pod(pod));
                }
                Ok(terminating)
            }
            Ok(_) => Err(Refusal::UnknownPod),
            Err(error) => {
                warn!(
                    namespace = &*key.namespace,
                    pod = &*key.name,
                    uid,
                    error = %chain(&error),
                    "It could not be confirmed that a pod is not being deleted; its hold goes on."
                );
                Err(Refusal::NotConfirmed)
            }
        }
    }
}

/// Counts a waiting hold for as long as it lives.
struct Waiting<'a>(&'a prometheus_client::metrics::gauge::Gauge);

impl<'a> Waiting<'a> {
    fn new(gauge: &'a prometheus_client::metrics::gauge::Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
